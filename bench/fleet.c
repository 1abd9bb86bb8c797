/* A fleet of targets on loopback: one thread that answers as a closed mail server, or as a closed proxy, at every
 * address of 127.0.0.0/8, and counts what each of them saw.
 *
 *   fleet [-p PORTS] [-P PORTS] [-d MS] [-c CODE] [-x ERRORS] [-t FILE] [-l FILE]
 *
 *   -p  ports of the mail server, by commas (2525)     -P  ports of the proxy (none)
 *   -d  every reply comes so many milliseconds after its command
 *   -c  the code that denies relaying: 454, as Postfix by default, or 554
 *   -x  as default Postfix: after so many errors each reply waits a second, and after twice as many it hangs up
 *   -t  at the end write a JSON line for each target   -l  write a line for each connection: time, address, port
 *
 * Says "ready" when it listens. SIGUSR1 prints the counts as a line of JSON; SIGTERM does so and ends it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "dialogue.h"
#include "tally.h"

#define SLOTS 16384         /* of the time wheel, a millisecond each */
#define MAX_DELAY 8000      /* milliseconds; with a second of slowness well inside the wheel */
#define MAX_PENDING 1048576 /* octets that wait for one client, who is cut off behind them */
#define MAX_PORTS 16
#define BATCH 262144

/* Replies that become due together. */
struct chunk {
    struct chunk *next;
    uint64_t due;
    uint32_t length, sent;
    char text[];
};

struct connection {
    struct dialogue dialogue;
    int fd;
    bool is_blocked, is_armed;
    uint16_t kept; /* octets of an unfinished line */
    uint32_t pending;
    uint64_t last_due;
    struct chunk *first, *last;
    struct connection *before, *after; /* in its slot of the wheel */
    char line[LINE_LIMIT];
};

static int poller;
static unsigned delay;
static uint64_t now, wheel_at; /* milliseconds */
static struct connection *wheel[SLOTS];
static unsigned armed;
static char batch[BATCH];
static uint32_t batched;
static FILE *log_file;
static char markers[MAX_PORTS + 1]; /* their addresses stand for the listeners and the signals in epoll's data */
static struct {
    int fd, port;
    bool is_proxy;
} listeners[MAX_PORTS];
static int listening;

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static uint64_t clock_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void disarm(struct connection *c) {
    if (!c->is_armed)
        return;
    if (c->before)
        c->before->after = c->after;
    else
        wheel[c->first->due % SLOTS] = c->after;
    if (c->after)
        c->after->before = c->before;
    c->is_armed = false;
    armed--;
}

static void arm(struct connection *c) {
    struct connection **slot = &wheel[c->first->due % SLOTS];
    c->before = NULL;
    c->after = *slot;
    if (*slot)
        (*slot)->before = c;
    *slot = c;
    c->is_armed = true;
    armed++;
}

static void hang_up(struct connection *c) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    struct target *target = tally_at(c->dialogue.target);
    disarm(c);
    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
        target->count[word_packets_in] += info.tcpi_segs_in;
        target->count[word_packets_out] += info.tcpi_segs_out;
    }
    target->live--;
    while (c->first) {
        struct chunk *chunk = c->first;
        c->first = chunk->next;
        free(chunk);
    }
    close(c->fd);
    free(c);
}

static void watch(struct connection *c, bool is_blocked) {
    struct epoll_event event = {.events = is_blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (c->is_blocked != is_blocked && epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event) < 0)
        fail("epoll_ctl");
    c->is_blocked = is_blocked;
}

static void queue(struct connection *c, const char *text, uint32_t length, uint64_t due) {
    struct chunk *chunk = malloc(sizeof *chunk + length);
    if (chunk == NULL)
        fail("malloc");
    *chunk = (struct chunk){.due = due, .length = length};
    memcpy(chunk->text, text, length);
    if (c->first)
        c->last->next = chunk;
    else
        c->first = chunk;
    c->last = chunk;
    c->pending += length;
    c->last_due = due;
}

/* Send what is due; give whether the connection still stands. */
static bool send_due(struct connection *c) {
    disarm(c);
    while (c->first && c->first->due <= now) {
        struct chunk *chunk = c->first;
        ssize_t sent = send(c->fd, chunk->text + chunk->sent, chunk->length - chunk->sent, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            watch(c, true);
            return true;
        }
        if (sent < 0) {
            hang_up(c);
            return false;
        }
        chunk->sent += (uint32_t)sent;
        if (chunk->sent < chunk->length)
            continue;
        c->first = chunk->next;
        c->pending -= chunk->length;
        free(chunk);
    }
    watch(c, false);
    if (c->first)
        arm(c);
    else if (c->dialogue.is_over) {
        hang_up(c);
        return false;
    }
    return true;
}

/* Queue what was said since the last time; `pause` milliseconds later than it would come. */
static void flush_batch(struct connection *c, unsigned pause) {
    uint64_t due = now + delay > c->last_due ? now + delay : c->last_due;
    if (batched) {
        disarm(c); /* send_due arms it again */
        queue(c, batch, batched, due + pause);
    }
    batched = 0;
}

void say(struct dialogue *d, const char *text, uint32_t length) {
    struct connection *c = (struct connection *)d; /* its first member */
    bool is_slow = dialogue_is_slow(d);
    if (is_slow || batched + length > BATCH)
        flush_batch(c, 0);
    memcpy(batch + batched, text, length);
    batched += length;
    if (is_slow) {
        tally_at(d->target)->count[word_slowed]++;
        flush_batch(c, 1000);
    }
    if (c->pending > MAX_PENDING && !d->is_over) {
        tally_at(d->target)->count[word_cut_off]++;
        d->is_over = true;
    }
}

/* Send what was said: at once, without a copy, where nothing waits; give whether the connection still stands. */
static bool send_batch(struct connection *c) {
    if (batched && delay == 0 && c->first == NULL && c->last_due <= now) {
        ssize_t sent = send(c->fd, batch, batched, MSG_NOSIGNAL);
        if (sent == (ssize_t)batched)
            batched = 0;
        else if (sent > 0) {
            memmove(batch, batch + sent, batched - (size_t)sent);
            batched -= (uint32_t)sent;
        }
    }
    flush_batch(c, 0);
    return send_due(c);
}

static void take_in(struct connection *c) {
    static char input[LINE_LIMIT + 65536];
    memcpy(input, c->line, c->kept);
    ssize_t got = recv(c->fd, input + c->kept, 65536, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        hang_up(c);
        return;
    }
    tally_at(c->dialogue.target)->count[word_octets_in] += (uint32_t)got;
    size_t length = c->kept + (size_t)got;
    size_t taken = dialogue_take(&c->dialogue, input, length);
    c->kept = 0;
    if (!c->dialogue.is_over && length - taken < LINE_LIMIT) {
        c->kept = (uint16_t)(length - taken);
        memcpy(c->line, input + taken, c->kept);
    } else if (!c->dialogue.is_over) { /* dialogue_take leaves no such line */
        c->dialogue.is_over = true;
    }
    send_batch(c);
}

static void welcome(int number) {
    for (int turn = 0; turn < 64; turn++) {
        int fd = accept4(listeners[number].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct sockaddr_in here = {0};
        socklen_t size = sizeof here;
        struct connection *c = calloc(1, sizeof *c);
        if (c == NULL || getsockname(fd, (struct sockaddr *)&here, &size) < 0)
            fail("accept");
        c->fd = fd;
        c->dialogue.target = tally_target(here.sin_addr.s_addr);
        c->dialogue.address = here.sin_addr.s_addr;
        c->dialogue.is_proxy = listeners[number].is_proxy;
        struct target *target = tally_at(c->dialogue.target);
        target->count[word_connections]++;
        if (++target->live > target->count[word_at_once])
            target->count[word_at_once] = target->live;
        if (log_file) {
            struct timespec time;
            char text[INET_ADDRSTRLEN];
            clock_gettime(CLOCK_REALTIME, &time);
            inet_ntop(AF_INET, &here.sin_addr, text, sizeof text);
            fprintf(log_file, "%lld.%06ld %s %d\n", (long long)time.tv_sec, time.tv_nsec / 1000, text,
                    listeners[number].port);
        }
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
            fail("epoll_ctl");
        dialogue_greet(&c->dialogue);
        send_batch(c);
    }
}

static int listen_at(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &markers[listening]};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes); /* what is accepted inherits it */
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) < 0 || listen(fd, 65535) < 0)
        fail("listen");
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
    return fd;
}

static void listen_at_all(char *ports, bool is_proxy) {
    for (char *port = strtok(ports, ","); port; port = strtok(NULL, ",")) {
        if (listening == MAX_PORTS) {
            fputs("fleet: too many ports\n", stderr);
            exit(2);
        }
        listeners[listening].port = atoi(port);
        listeners[listening].is_proxy = is_proxy;
        listeners[listening].fd = listen_at(listeners[listening].port);
        listening++;
    }
}

static int signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &markers[MAX_PORTS]};
    if (fd < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("signalfd");
    return fd;
}

/* Send to all whose time has come; each slot once, though what is later than one turn of the wheel can't be. */
static void turn_wheel(void) {
    for (; wheel_at < now && armed; wheel_at++)
        for (struct connection *c = wheel[(wheel_at + 1) % SLOTS], *after; c; c = after) {
            after = c->after;
            if (c->first->due <= now)
                send_due(c);
        }
    wheel_at = now;
}

static int until_next(void) {
    if (!armed)
        return -1;
    int wait = 1;
    while (wait < SLOTS && !wheel[(now + (unsigned)wait) % SLOTS])
        wait++;
    return wait;
}

static void serve(int signal_fd) {
    struct epoll_event events[512];
    now = wheel_at = clock_ms();
    for (;;) {
        int count = epoll_wait(poller, events, 512, until_next());
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        now = clock_ms();
        for (int i = 0; i < count; i++) {
            char *marker = events[i].data.ptr;
            struct signalfd_siginfo info;
            if (marker >= markers && marker < markers + MAX_PORTS)
                welcome((int)(marker - markers));
            else if (marker == markers + MAX_PORTS) {
                bool is_end = read(signal_fd, &info, sizeof info) == sizeof info && info.ssi_signo != SIGUSR1;
                tally_write(stdout);
                if (is_end)
                    return;
            } else {
                struct connection *c = events[i].data.ptr;
                if (!(events[i].events & EPOLLOUT) || send_due(c))
                    if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                        take_in(c);
            }
        }
        turn_wheel();
    }
}

int main(int argc, char **argv) {
    char mail_ports[] = "2525", *ports = mail_ports, *proxy_ports = NULL;
    const char *targets_path = NULL;
    struct rlimit files;
    int option, signal_fd;
    while ((option = getopt(argc, argv, "p:P:d:c:x:t:l:")) != -1) {
        switch (option) {
        case 'p': ports = optarg; break;
        case 'P': proxy_ports = optarg; break;
        case 'd': delay = (unsigned)atoi(optarg); break;
        case 'c': dialogue_denial = atoi(optarg); break;
        case 'x': dialogue_patience = atoi(optarg); break;
        case 't': targets_path = optarg; break;
        case 'l': log_file = fopen(optarg, "w"); break;
        default: return 2;
        }
    }
    if (delay > MAX_DELAY || (dialogue_denial != 454 && dialogue_denial != 554)) {
        fputs("fleet: a delay of 8000 ms at most, and 454 or 554\n", stderr);
        return 2;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    signal_fd = signals();
    listen_at_all(ports, false);
    if (proxy_ports)
        listen_at_all(proxy_ports, true);
    puts("ready");
    fflush(stdout);
    serve(signal_fd);
    if (log_file)
        fclose(log_file);
    FILE *file = targets_path ? fopen(targets_path, "w") : NULL;
    if (file) {
        tally_write_targets(file);
        fclose(file);
    }
    return 0;
}
