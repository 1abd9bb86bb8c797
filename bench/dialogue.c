/* A Postfix that carries nothing for strangers, as its defaults make it, and a proxy that is for nobody. */
#define _GNU_SOURCE
#include "dialogue.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tally.h"

#define NAME "mx.example.test"
#define SAY(d, text) say(d, text, sizeof(text) - 1)

int dialogue_denial = 454;
int dialogue_patience;

static void count(struct dialogue *d, enum word word) { tally_at(d->target)->count[word]++; }

bool dialogue_is_slow(const struct dialogue *d) { return dialogue_patience && d->errors >= dialogue_patience; }

/* An error's reply. Postfix counts it when it has answered, and hangs up at the hard limit. */
static void refuse(struct dialogue *d, const char *text, size_t length) {
    say(d, text, (uint32_t)length);
    if (d->errors < UINT8_MAX)
        d->errors++;
    if (dialogue_patience && d->errors >= 2 * dialogue_patience) {
        SAY(d, "421 4.7.0 " NAME " Error: too many errors\r\n");
        d->is_over = true;
    }
}
#define REFUSE(d, text) refuse(d, text, sizeof(text) - 1)

/* --- SMTP --------------------------------------------------------------------------------------- */

static bool is_own_domain(const struct dialogue *d, const char *domain, size_t length) {
    char own[INET_ADDRSTRLEN], literal[INET_ADDRSTRLEN + 2];
    if (length == strlen(NAME) && strncasecmp(domain, NAME, length) == 0)
        return true;
    if (length == 9 && strncasecmp(domain, "localhost", length) == 0)
        return true;
    if (length == 0 || domain[0] != '[')
        return false;
    inet_ntop(AF_INET, &d->address, own, sizeof own);
    snprintf(literal, sizeof literal, "[%s]", own);
    return length == strlen(literal) && memcmp(domain, literal, length) == 0;
}

static bool is_postmaster(const char *local, size_t length) {
    return length == 10 && strncasecmp(local, "postmaster", length) == 0;
}

static bool is_routed(const char *local, size_t length) {
    return memchr(local, '@', length) || memchr(local, '%', length) || memchr(local, '!', length);
}

static void answer_rcpt(struct dialogue *d, const char *argument, size_t length) {
    char reply[512];
    const char *path = memchr(argument, '<', length);
    const char *end = path ? memrchr(path, '>', length - (size_t)(path - argument)) : NULL;
    if (!d->has_mail || !end || length < 3 || strncasecmp(argument, "TO:", 3) != 0) {
        if (d->has_mail)
            REFUSE(d, "501 5.5.4 Syntax: RCPT TO:<address>\r\n");
        else
            REFUSE(d, "503 5.5.1 Error: need MAIL command\r\n");
        return;
    }
    const char *local = path + 1;
    if (*local == '@') { /* a source route is dropped (RFC 5321 appendix F.2) */
        const char *colon = memchr(local, ':', (size_t)(end - local));
        local = colon ? colon + 1 : local;
    }
    const char *at = memrchr(local, '@', (size_t)(end - local));
    bool is_ours = at == NULL || is_own_domain(d, at + 1, (size_t)(end - at - 1));
    size_t local_length = (size_t)((at ? at : end) - local);
    int shown = (int)(end + 1 - path < 300 ? end + 1 - path : 300), size;
    if (is_ours && is_postmaster(local, local_length)) {
        count(d, word_accepted);
        SAY(d, "250 2.1.5 Ok\r\n");
        return;
    }
    if (is_ours && !is_routed(local, local_length)) {
        count(d, word_unknown_user);
        size = snprintf(reply, sizeof reply,
                        "550 5.1.1 %.*s: Recipient address rejected: User unknown in local recipient table\r\n",
                        shown, path);
    } else {
        count(d, word_denied);
        size = snprintf(reply, sizeof reply, "%d %d.7.1 %.*s: Relay access denied\r\n", dialogue_denial,
                        dialogue_denial / 100, shown, path);
    }
    refuse(d, reply, (size_t)size);
}

static void answer_mail(struct dialogue *d, const char *argument, size_t length) {
    if (d->has_mail)
        REFUSE(d, "503 5.5.1 Error: nested MAIL command\r\n");
    else if (length < 5 || strncasecmp(argument, "FROM:", 5) != 0)
        REFUSE(d, "501 5.5.4 Syntax: MAIL FROM:<address>\r\n");
    else {
        d->has_mail = true;
        SAY(d, "250 2.1.0 Ok\r\n");
    }
}

static void answer_hello(struct dialogue *d, bool is_extended, size_t length) {
    d->has_mail = false;
    if (length == 0)
        REFUSE(d, "501 Syntax: EHLO hostname\r\n");
    else if (is_extended)
        SAY(d, "250-" NAME "\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-VRFY\r\n250-ETRN\r\n"
               "250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 DSN\r\n");
    else
        SAY(d, "250 " NAME "\r\n");
}

static const struct {
    const char verb[9];
    enum word word;
} verbs[] = {
    {"MAIL", word_mail}, {"RCPT", word_rcpt}, {"RSET", word_rset}, {"EHLO", word_ehlo}, {"HELO", word_helo},
    {"QUIT", word_quit}, {"NOOP", word_noop}, {"HELP", word_help}, {"DATA", word_data}, {"STARTTLS", word_starttls},
};

static enum word read_verb(const char *line, size_t length) {
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (length == strlen(verbs[i].verb) && strncasecmp(line, verbs[i].verb, length) == 0)
            return verbs[i].word;
    return word_other;
}

static void answer_line(struct dialogue *d, const char *line, size_t length) {
    const char *space = memchr(line, ' ', length);
    size_t verb_length = space ? (size_t)(space - line) : length;
    const char *argument = space ? space + 1 : line + length;
    size_t rest = length - (size_t)(argument - line);
    enum word word = read_verb(line, verb_length);
    count(d, word);
    switch (word) {
    case word_mail: answer_mail(d, argument, rest); break;
    case word_rcpt: answer_rcpt(d, argument, rest); break;
    case word_rset:
        d->has_mail = false;
        SAY(d, "250 2.0.0 Ok\r\n");
        break;
    case word_ehlo:
    case word_helo: answer_hello(d, word == word_ehlo, rest); break;
    case word_quit:
        SAY(d, "221 2.0.0 Bye\r\n");
        d->is_over = true;
        break;
    case word_noop: SAY(d, "250 2.0.0 Ok\r\n"); break;
    case word_data: REFUSE(d, "554 5.5.1 Error: no valid recipients\r\n"); break;
    case word_starttls: REFUSE(d, "502 5.5.1 Error: command not implemented\r\n"); break;
    default: REFUSE(d, "502 5.5.2 Error: command not recognized\r\n"); break;
    }
}

static size_t take_lines(struct dialogue *d, const char *input, size_t length) {
    size_t taken = 0;
    while (!d->is_over && taken < length) {
        const char *line = input + taken;
        const char *end = memchr(line, '\n', length - taken);
        if (end == NULL)
            break;
        size_t size = (size_t)(end - line);
        taken += size + 1;
        answer_line(d, line, size && line[size - 1] == '\r' ? size - 1 : size);
    }
    if (!d->is_over && length - taken >= LINE_LIMIT) {
        SAY(d, "500 5.5.2 Error: line too long\r\n");
        d->is_over = true;
    }
    return taken;
}

/* --- proxies ------------------------------------------------------------------------------------ */

static enum word read_method(const char *head, size_t length) {
    if (length > 4 && memcmp(head, "GET ", 4) == 0)
        return word_http_get;
    if (length > 5 && memcmp(head, "POST ", 5) == 0)
        return word_http_post;
    if (length > 8 && memcmp(head, "CONNECT ", 8) == 0)
        return word_http_connect;
    return memmem(head, length, " HTTP/", 6) ? word_http_other : word_no_protocol;
}

static size_t take_request(struct dialogue *d, const char *input, size_t length) {
    const char *end = memmem(input, length, "\r\n\r\n", 4);
    const char *line_end = memchr(input, '\n', length);
    if (end == NULL && length < LINE_LIMIT && (line_end == NULL || memmem(input, length, " HTTP/", 6)))
        return 0;
    enum word word = read_method(input, length);
    count(d, word);
    if (word == word_no_protocol || end == NULL)
        SAY(d, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    else
        SAY(d, "HTTP/1.1 403 Forbidden\r\nServer: squid\r\nContent-Type: text/html\r\nContent-Length: 71\r\n"
               "X-Squid-Error: ERR_ACCESS_DENIED 0\r\nConnection: close\r\n\r\n"
               "<html><title>ERROR: denied</title><p>Access control says no.</p></html>");
    d->is_over = true;
    return length;
}

static size_t take_proxied(struct dialogue *d, const char *input, size_t length) {
    switch (input[0]) {
    case 4: /* version, command, port, address, user and a zero: 91 is "rejected or failed" */
        if (length < 9 || !memchr(input + 8, 0, length - 8))
            break;
        count(d, word_socks4);
        SAY(d, "\x00\x5b\x00\x00\x00\x00\x00\x00");
        d->is_over = true;
        return length;
    case 5: /* version, and the methods with their number before them: no acceptable one (RFC 1928 section 3) */
        if (length < 2 || length < 2 + (size_t)(unsigned char)input[1])
            break;
        count(d, word_socks5);
        SAY(d, "\x05\xff");
        d->is_over = true;
        return length;
    case 0x16:
        count(d, word_tls_hello);
        d->is_over = true;
        return length;
    default: return take_request(d, input, length);
    }
    if (length >= LINE_LIMIT) {
        d->is_over = true;
        return length;
    }
    return 0;
}

void dialogue_greet(struct dialogue *d) {
    if (!d->is_proxy)
        SAY(d, "220 " NAME " ESMTP Postfix\r\n");
}

size_t dialogue_take(struct dialogue *d, const char *input, size_t length) {
    if (d->is_over)
        return length;
    return d->is_proxy ? take_proxied(d, input, length) : take_lines(d, input, length);
}
