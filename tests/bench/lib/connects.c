/* Counts the TCP connections that a program opens to one port: preloaded into load generators, which do not tell.
 *
 * A generator that reconnects silently shows no error when a proxy closes its connections. CONNECTS_PORT is the port,
 * CONNECTS_FILE a file of 8 bytes that holds the count, in the order of this machine.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

static uint64_t *count;
static in_port_t port;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("CONNECTS_FILE"), *number = getenv("CONNECTS_PORT");
    int file = path && number ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page == MAP_FAILED)
        return;
    port = htons((uint16_t)atoi(number));
    count = page;
}

static int is_to_port(const struct sockaddr *to, socklen_t length) {
    if (length < sizeof(struct sockaddr_in))
        return 0;
    return (to->sa_family == AF_INET && ((const struct sockaddr_in *)to)->sin_port == port) ||
           (to->sa_family == AF_INET6 && ((const struct sockaddr_in6 *)to)->sin6_port == port);
}

int connect(int fd, const struct sockaddr *to, socklen_t length) {
    static int (*real)(int, const struct sockaddr *, socklen_t);
    /* Which descriptors were told to wait: asking again how far a connection is (ab does) opens none. */
    static unsigned char waits[1 << 16];
    if (!real)
        real = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    int result = real(fd, to, length), error = errno;
    if (count && fd < (int)sizeof waits && is_to_port(to, length)) {
        int began = result < 0 && error == EINPROGRESS;
        int again = result < 0 && (error == EALREADY || error == EISCONN);
        if (began || (!again && !waits[fd]))
            __atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
        waits[fd] = (unsigned char)began;
    }
    errno = error;
    return result;
}
