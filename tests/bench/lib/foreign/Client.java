// Requests one after the other with Java's HttpClient: Client URL CA SECONDS h1|h2
import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.ArrayList;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Client {
    public static void main(String[] words) throws Exception {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var pem = new FileInputStream(words[1])) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        var tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        var version = words[3].equals("h2") ? HttpClient.Version.HTTP_2 : HttpClient.Version.HTTP_1_1;
        var client = HttpClient.newBuilder().sslContext(tls).version(version).build();
        long until = System.nanoTime() + Long.parseLong(words[2]) * 1_000_000_000L;
        int requests = 0;
        var errors = new ArrayList<String>();
        while (System.nanoTime() < until) {
            var request = HttpRequest.newBuilder(URI.create(words[0] + (requests % 5 == 4 ? "/upload" : "/1k")));
            request.timeout(Duration.ofSeconds(15));
            if (requests % 5 == 4) {
                request.POST(HttpRequest.BodyPublishers.ofString("x".repeat(20000)));
            }
            try {
                var response = client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
                if (response.statusCode() != 200 || response.body().length != 1024 || response.version() != version) {
                    errors.add(response.version() + " " + response.statusCode() + ", " + response.body().length + " bytes");
                }
            } catch (Exception error) {
                errors.add(error.toString());
                Thread.sleep(20);
            }
            requests++;
            Thread.sleep(5);
        }
        var said = String.join("; ", errors).replace("\\", "/").replace("\"", "'");
        System.out.println("{\"requests\": " + requests + ", \"errors\": [" + (said.isEmpty() ? "" : "\"" + said + "\"") + "]}");
    }
}
