/* The native reference: the least that any checker must do for the same answers, in one thread of C.
 *
 *   native [-p PORT] [-n AT_ONCE] [-b VECTORS] [-w MS] [-W MS] [-s] [-o FILE] < ADDRESSES
 *
 *   -p  the port (2525)          -n  targets at a time (512)
 *   -b  vectors to a connection (16); a target's connections come one after the other
 *   -w  milliseconds for a connection (3000)     -W  milliseconds of silence in a dialogue (20000)
 *   -s  one command a round trip, as nmap does; else all in one write, QUIT with them (RFC 2920)
 *   -o  the file of result lines (standard output)
 *
 * Asks nmap's sixteen pairs of paths: greeting, EHLO, then RSET, MAIL, RCPT for each. One line of JSON a target,
 * with the sixteen codes. No TLS, no retries, no transcript, no judgement.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define VECTORS 16
#define DOMAIN "relay.test"
#define HELLO "EHLO " DOMAIN "\r\n"
#define INPUT 4096 /* octets that wait for the end of their line */
#define NAME 128

enum stage { connecting, greeting, hello, asking, over };

struct session {
    int fd;
    enum stage stage;
    uint8_t vector, batch_end, step, replies_left;
    bool is_quitting;
    uint16_t codes[VECTORS], kept;
    uint64_t deadline;
    struct session *before, *after; /* in its queue of deadlines */
    struct sockaddr_in address;
    char text[INET_ADDRSTRLEN], name[NAME], input[INPUT];
};

/* Deadlines of one length end in the order in which they began. */
struct queue {
    struct session *first, *last;
};

static int poller, port = 2525, vectors_each = VECTORS;
static unsigned at_once = 512, live, connect_ms = 3000, silence_ms = 20000;
static bool one_by_one;
static FILE *out;
static uint64_t now;
static struct queue connects, dialogues;

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static uint64_t clock_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* --- deadlines ---------------------------------------------------------------------------------- */

static struct queue *queue_of(const struct session *s) { return s->stage == connecting ? &connects : &dialogues; }

static void leave_queue(struct session *s) {
    struct queue *queue = queue_of(s);
    *(s->before ? &s->before->after : &queue->first) = s->after;
    *(s->after ? &s->after->before : &queue->last) = s->before;
}

static void join_queue(struct session *s) {
    struct queue *queue = queue_of(s);
    s->deadline = now + (s->stage == connecting ? connect_ms : silence_ms);
    s->before = queue->last;
    s->after = NULL;
    *(queue->last ? &queue->last->after : &queue->first) = s;
    queue->last = s;
}

static void enter(struct session *s, enum stage stage) {
    leave_queue(s);
    s->stage = stage;
    join_queue(s);
}

/* --- words -------------------------------------------------------------------------------------- */

/* The pairs of smtp-open-relay.nse: %1$s the target's address, %2$s the name in its greeting. */
static const char *const pairs[VECTORS][2] = {
    {"", "relaytest@" DOMAIN},
    {"antispam@" DOMAIN, "relaytest@" DOMAIN},
    {"antispam@%2$s", "relaytest@" DOMAIN},
    {"antispam@[%1$s]", "relaytest@" DOMAIN},
    {"antispam@[%1$s]", "relaytest%%" DOMAIN "@[%1$s]"},
    {"antispam@[%1$s]", "relaytest%%" DOMAIN "@%2$s"},
    {"antispam@[%1$s]", "\"relaytest@" DOMAIN "\""},
    {"antispam@[%1$s]", "\"relaytest%%" DOMAIN "\""},
    {"antispam@[%1$s]", "relaytest@" DOMAIN "@[%1$s]"},
    {"antispam@[%1$s]", "\"relaytest@" DOMAIN "\"@[%1$s]"},
    {"antispam@[%1$s]", "relaytest@" DOMAIN "@%2$s"},
    {"antispam@[%1$s]", "@[%1$s]:relaytest@" DOMAIN},
    {"antispam@[%1$s]", "@%2$s:relaytest@" DOMAIN},
    {"antispam@[%1$s]", DOMAIN "!relaytest"},
    {"antispam@[%1$s]", DOMAIN "!relaytest@[%1$s]"},
    {"antispam@[%1$s]", DOMAIN "!relaytest@%2$s"},
};

#pragma GCC diagnostic ignored "-Wformat-nonliteral"

/* Write the command of a vector at this step: RSET, MAIL, RCPT; gives its length. */
static size_t write_command(const struct session *s, int vector, int step, char *to, size_t room) {
    char path[512];
    if (step == 0)
        return (size_t)snprintf(to, room, "RSET\r\n");
    snprintf(path, sizeof path, pairs[vector][step - 1], s->text, s->name);
    return (size_t)snprintf(to, room, step == 1 ? "MAIL FROM:<%s>\r\n" : "RCPT TO:<%s>\r\n", path);
}

static bool transmit(const struct session *s, const char *text, size_t length) {
    return send(s->fd, text, length, MSG_NOSIGNAL) == (ssize_t)length; /* a new socket's buffer takes it whole */
}

/* Send what comes next in `asking`, and put down how many replies that will bring. */
static bool ask(struct session *s) {
    char text[VECTORS * 3 * 600];
    size_t length = 0;
    s->replies_left = 0;
    if (one_by_one && s->vector < s->batch_end) {
        length = write_command(s, s->vector, s->step, text, sizeof text);
        s->replies_left = 1;
        return transmit(s, text, length);
    }
    for (int vector = s->vector; vector < s->batch_end; vector++)
        for (int step = 0; step < 3; step++, s->replies_left++)
            length += write_command(s, vector, step, text + length, sizeof text - length);
    memcpy(text + length, "QUIT\r\n", 6);
    s->replies_left++;
    s->is_quitting = true;
    return transmit(s, text, length + 6);
}

/* --- sessions ----------------------------------------------------------------------------------- */

static void end(struct session *s, const char *state) {
    char line[512];
    int length = snprintf(line, sizeof line, "{\"target\":\"%s\",\"state\":\"%s\",\"codes\":[", s->text, state);
    for (int vector = 0; vector < VECTORS; vector++)
        length += snprintf(line + length, sizeof line - (size_t)length, vector ? ",%u" : "%u", s->codes[vector]);
    fprintf(out, "%s]}\n", line);
    leave_queue(s);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
    live--;
}

static bool open_connection(struct session *s) {
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        fail("socket");
    s->kept = 0;
    s->is_quitting = false;
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = s};
    if (connect(s->fd, (struct sockaddr *)&s->address, sizeof s->address) < 0 && errno != EINPROGRESS)
        return false;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &event) < 0)
        fail("epoll_ctl");
    return true;
}

static void begin(const char *address) {
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL)
        fail("calloc");
    s->address.sin_family = AF_INET;
    s->address.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, address, &s->address.sin_addr) != 1) {
        fprintf(stderr, "native: no address: %s\n", address);
        free(s);
        return;
    }
    inet_ntop(AF_INET, &s->address.sin_addr, s->text, sizeof s->text);
    live++;
    join_queue(s);
    if (!open_connection(s))
        end(s, "refused");
}

/* Go on behind a connection's last reply: with the next vectors, or to the end. */
static void next_connection(struct session *s) {
    s->vector = s->batch_end;
    if (s->vector == VECTORS) {
        end(s, "done");
        return;
    }
    close(s->fd);
    enter(s, connecting);
    if (!open_connection(s))
        end(s, "refused");
}

/* Take one whole reply; gives whether the session still stands. */
static bool take_reply(struct session *s, const char *line, size_t length, int code) {
    if (s->stage == greeting) {
        if (code != 220) {
            end(s, "unwelcome");
            return false;
        }
        size_t name = 0;
        while (4 + name < length && name < NAME - 1 && line[4 + name] > ' ')
            name++;
        memcpy(s->name, line + 4, name);
        s->name[name] = 0;
        s->stage = hello; /* of the same queue */
        return transmit(s, HELLO, sizeof HELLO - 1) || (end(s, "lost"), false);
    }
    if (s->stage == hello) {
        s->stage = asking;
        s->step = 0;
        s->batch_end = (uint8_t)(s->vector + vectors_each < VECTORS ? s->vector + vectors_each : VECTORS);
        return ask(s) || (end(s, "lost"), false);
    }
    s->replies_left--;
    if (s->vector < s->batch_end && ++s->step == 3) {
        s->codes[s->vector++] = (uint16_t)code;
        s->step = 0;
    }
    if (s->replies_left)
        return true;
    if (s->is_quitting) {
        next_connection(s);
        return false; /* what else was read is another connection's */
    }
    return ask(s) || (end(s, "lost"), false);
}

static void take_in(struct session *s) {
    static char input[INPUT + 65536];
    memcpy(input, s->input, s->kept);
    ssize_t got = recv(s->fd, input + s->kept, 65536, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        end(s, "lost");
        return;
    }
    size_t length = s->kept + (size_t)got, taken = 0;
    enter(s, s->stage);
    for (;;) {
        const char *line = input + taken, *stop = memchr(line, '\n', length - taken);
        if (stop == NULL)
            break;
        size_t size = (size_t)(stop - line);
        taken += size + 1;
        if (size < 3 || line[3] == '-')
            continue;
        int code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
        if (!take_reply(s, line, size, code))
            return;
    }
    if (length - taken > INPUT) {
        end(s, "garbage");
        return;
    }
    s->kept = (uint16_t)(length - taken);
    memcpy(s->input, input + taken, s->kept);
}

static void take_connection(struct session *s) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        end(s, "refused");
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, s->fd, &event) < 0)
        fail("epoll_ctl");
    enter(s, greeting);
}

static void expire(struct queue *queue, const char *state) {
    while (queue->first && queue->first->deadline <= now)
        end(queue->first, state);
}

static int until_deadline(void) {
    uint64_t next = UINT64_MAX;
    if (connects.first)
        next = connects.first->deadline;
    if (dialogues.first && dialogues.first->deadline < next)
        next = dialogues.first->deadline;
    return next <= now ? 0 : (int)(next - now);
}

static void run(void) {
    struct epoll_event events[512];
    char line[256];
    bool has_more = true;
    now = clock_ms();
    while (has_more || live) {
        while (has_more && live < at_once) {
            has_more = fgets(line, sizeof line, stdin) != NULL;
            line[strcspn(line, " \r\n")] = 0;
            if (has_more && line[0])
                begin(line);
        }
        if (!live)
            break;
        int count = epoll_wait(poller, events, 512, until_deadline());
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        now = clock_ms();
        for (int i = 0; i < count; i++) {
            struct session *s = events[i].data.ptr;
            if (s->stage == connecting)
                take_connection(s);
            else
                take_in(s);
        }
        expire(&connects, "silent");
        expire(&dialogues, "stuck");
    }
}

int main(int argc, char **argv) {
    struct rlimit files;
    int option;
    out = stdout;
    while ((option = getopt(argc, argv, "p:n:b:w:W:so:")) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'n': at_once = (unsigned)atoi(optarg); break;
        case 'b': vectors_each = atoi(optarg); break;
        case 'w': connect_ms = (unsigned)atoi(optarg); break;
        case 'W': silence_ms = (unsigned)atoi(optarg); break;
        case 's': one_by_one = true; break;
        case 'o': out = fopen(optarg, "w"); break;
        default: return 2;
        }
    }
    if (out == NULL || vectors_each < 1 || vectors_each > VECTORS || at_once < 1)
        return 2;
    setvbuf(out, NULL, _IOFBF, 1 << 16);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    run();
    return fclose(out) ? 1 : 0;
}
