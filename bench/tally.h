/* What the fleet counts, for all targets and for each of them. */
#ifndef TALLY_H
#define TALLY_H

#include <stdint.h>
#include <stdio.h>

#define TALLY_WORDS                                                                                \
    X(connections) X(at_once) X(packets_in) X(packets_out) X(octets_in) X(ehlo) X(helo) X(mail)    \
    X(rcpt) X(rset) X(noop) X(help) X(data) X(quit) X(starttls) X(other) X(denied) X(unknown_user) \
    X(accepted) X(slowed) X(cut_off) X(http_get) X(http_post) X(http_connect) X(http_other)        \
    X(socks4) X(socks5) X(tls_hello) X(no_protocol)

enum word {
#define X(name) word_##name,
    TALLY_WORDS
#undef X
    word_count
};

struct target {
    uint32_t address; /* network order */
    uint32_t live;
    uint32_t count[word_count];
};

/* Find the target of this address, or begin one; its number stays the same. Ends the program for want of memory. */
uint32_t tally_target(uint32_t address);

/* The target of this number; good until the next tally_target. */
struct target *tally_at(uint32_t number);

/* Write one JSON line: the sums, and for each word the least and the most that one target saw. */
void tally_write(FILE *file);

/* Write one JSON line for each target. */
void tally_write_targets(FILE *file);

#endif
