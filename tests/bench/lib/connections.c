// Opens connections to 127.0.0.1 at a steady rate, each with one request, and closes each after its answer. Prints how
// many it opened, how many were answered whole and in how many seconds, as JSON. It has to be C: a client in Python
// is slower than the proxies, and would wait for itself.
//
//     connections PORT RATE SECONDS

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 8192
#define BODY 1024

static const char REQUEST[] = "GET /1k HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n";

static struct {
    char sent;
    int left; // of the answer, once its head has come
} client[MOST];
static long opened, answered, failed, open_now;
static int poller;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void open_one(const struct sockaddr_in *to) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    opened++;
    if (fd < 0 || fd >= MOST || (connect(fd, (const struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS)) {
        failed++;
        if (fd >= 0) close(fd);
        return;
    }
    memset(&client[fd], 0, sizeof client[fd]);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) {
        failed++;
        close(fd);
        return;
    }
    open_now++;
}

static void end(int fd, long *count) {
    (*count)++;
    open_now--;
    close(fd);
}

static void serve(int fd, unsigned events) {
    static char buffer[65536];
    if (!client[fd].sent && (events & EPOLLOUT)) {
        if (send(fd, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL) != sizeof REQUEST - 1) return end(fd, &failed);
        client[fd].sent = 1;
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    for (;;) {
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) return end(fd, &failed);
        if (!client[fd].left) {
            // a proxy that splits so small a head is not known
            char *body = memmem(buffer, got, "\r\n\r\n", 4);
            if (!body || strncmp(buffer, "HTTP/1.1 200", 12)) return end(fd, &failed);
            client[fd].left = body + 4 - buffer + BODY;
        }
        client[fd].left -= got;
        if (client[fd].left <= 0) return end(fd, &answered);
    }
}

int main(int count, char **words) {
    if (count != 4) return 2;
    double rate = atof(words[2]), seconds = atof(words[3]), began = now();
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[256];
    double ended = 0;
    for (;;) {
        double at = now() - began;
        if (at >= seconds && !ended) ended = at;
        if (at >= seconds && (!open_now || at >= seconds + 5)) break;
        if (!ended)
            while (opened < at * rate) open_one(&to);
        int ready = epoll_wait(poller, events, 256, 1);
        for (int i = 0; i < ready; i++) serve(events[i].data.fd, events[i].events);
    }
    printf("{\"opened\": %ld, \"answered\": %ld, \"failed\": %ld, \"seconds\": %.3f}\n", opened, answered,
           failed + open_now, ended);
    return 0;
}
