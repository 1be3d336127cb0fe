/* The server behind the proxies: answers HTTP/1.1 from memory, one thread, so that it is never what is measured.
 *
 * usage: upstream PORT
 *
 * GET /1k, /64k, /10m answer with so many bytes; any request with a Content-Length has its body read and thrown
 * away first. Requests with Transfer-Encoding are closed: the load sends none, so a proxy that adds one shows up
 * as errors.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, EVENTS = 256, SINK = 1 << 18 };

struct answer {
	const char *path;
	size_t body;
	char *bytes;
	size_t length;
};

struct connection {
	int fd;
	int close_after;
	int waits_for_room;
	size_t body_left;           /* of the request: to be thrown away */
	const struct answer *answer; /* to be sent when the body has come */
	const char *out;
	size_t out_left;
	size_t filled;
	char in[HEAD_MAX + 1];
};

static struct answer answers[] = {
	{ "/64k", 64 << 10, NULL, 0 },
	{ "/10m", 10 << 20, NULL, 0 },
	{ "/upload", 2, NULL, 0 },
	{ "/", 1024, NULL, 0 }, /* last: also for every other path */
};
static char sink[SINK];
static int poller;

static void prepare(struct answer *answer)
{
	answer->bytes = malloc(answer->body + 512);
	if (!answer->bytes)
		exit(1);
	int head = sprintf(answer->bytes,
			   "HTTP/1.1 200 OK\r\nServer: upstream\r\nDate: Sun, 22 Nov 2026 07:00:00 GMT\r\n"
			   "Content-Type: text/plain\r\nContent-Length: %zu\r\n"
			   "Last-Modified: Sun, 22 Nov 2026 06:00:00 GMT\r\nETag: \"4d2-1\"\r\n"
			   "Cache-Control: max-age=60\r\n\r\n",
			   answer->body);
	memset(answer->bytes + head, 'x', answer->body);
	answer->length = head + answer->body;
}

static void watch(struct connection *connection, int room)
{
	if (connection->waits_for_room == room)
		return;
	connection->waits_for_room = room;
	struct epoll_event event = { .events = room ? EPOLLOUT : EPOLLIN, .data.ptr = connection };
	epoll_ctl(poller, EPOLL_CTL_MOD, connection->fd, &event);
}

/* 1: all is sent · 0: the rest waits for room · -1: the connection is over */
static int send_out(struct connection *connection)
{
	while (connection->out_left) {
		ssize_t sent = send(connection->fd, connection->out, connection->out_left, MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN) {
			watch(connection, 1);
			return 0;
		}
		if (sent < 0)
			return -1;
		connection->out += sent;
		connection->out_left -= sent;
	}
	watch(connection, 0);
	return connection->close_after ? -1 : 1;
}

static int reply(struct connection *connection)
{
	connection->out = connection->answer->bytes;
	connection->out_left = connection->answer->length;
	connection->answer = NULL;
	return send_out(connection);
}

/* Reads the fields that matter out of a whole head; -1 when the request is not for us. */
static int understand(struct connection *connection, char *end)
{
	char *path = memchr(connection->in, ' ', end - connection->in);
	if (!path++)
		return -1;
	connection->answer = answers;
	while (strcmp(connection->answer->path, "/")
	       && strncmp(path, connection->answer->path, strlen(connection->answer->path)))
		connection->answer++;
	connection->body_left = 0;
	for (char *line = memchr(connection->in, '\n', end - connection->in); line && line < end;
	     line = memchr(line, '\n', end - line)) {
		line++;
		if (!strncasecmp(line, "content-length:", 15))
			connection->body_left = strtoul(line + 15, NULL, 10);
		else if (!strncasecmp(line, "transfer-encoding:", 18))
			return -1;
		else if (!strncasecmp(line, "connection: close", 17))
			connection->close_after = 1;
	}
	return 0;
}

/* Answers every request that is whole in the buffer; -1 when the connection is over. */
static int serve(struct connection *connection)
{
	while (!connection->out_left && !connection->answer && connection->filled) {
		connection->in[connection->filled] = 0;
		char *end = memmem(connection->in, connection->filled, "\r\n\r\n", 4);
		if (!end)
			return connection->filled < HEAD_MAX ? 0 : -1;
		if (understand(connection, end) < 0)
			return -1;
		size_t head = end + 4 - connection->in, here = connection->filled - head;
		if (here > connection->body_left)
			here = connection->body_left;
		connection->body_left -= here;
		connection->filled -= head + here;
		memmove(connection->in, connection->in + head + here, connection->filled);
		if (connection->body_left)
			return 0;
		if (reply(connection) < 0)
			return -1;
	}
	return 0;
}

static int readable(struct connection *connection)
{
	if (connection->body_left) {
		size_t want = connection->body_left < SINK ? connection->body_left : SINK;
		ssize_t got = recv(connection->fd, sink, want, 0);
		if (got <= 0)
			return got < 0 && errno == EAGAIN ? 0 : -1;
		connection->body_left -= got;
		return connection->body_left || reply(connection) >= 0 ? 0 : -1;
	}
	ssize_t got = recv(connection->fd, connection->in + connection->filled, HEAD_MAX - connection->filled, 0);
	if (got <= 0)
		return got < 0 && errno == EAGAIN ? 0 : -1;
	connection->filled += got;
	return serve(connection);
}

static void take_new(int listener)
{
	for (;;) {
		int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		if (fd < 0)
			return;
		struct connection *connection = calloc(1, sizeof *connection);
		if (!connection) {
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		connection->fd = fd;
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };
		epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
	}
}

static int listen_on(int port)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0) {
		perror("upstream: bind");
		exit(1);
	}
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
	return fd;
}

int main(int count, char **words)
{
	if (count != 2) {
		fprintf(stderr, "usage: upstream PORT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
		prepare(&answers[i]);
	poller = epoll_create1(EPOLL_CLOEXEC);
	int listener = listen_on(atoi(words[1]));
	for (;;) {
		struct epoll_event events[EVENTS];
		int ready = epoll_wait(poller, events, EVENTS, -1);
		for (int i = 0; i < ready; i++) {
			struct connection *connection = events[i].data.ptr;
			if (!connection) {
				take_new(listener);
				continue;
			}
			int state = connection->waits_for_room ? send_out(connection) : readable(connection);
			if (state > 0)
				state = serve(connection);
			if (state < 0) {
				close(connection->fd);
				free(connection);
			}
		}
	}
}
