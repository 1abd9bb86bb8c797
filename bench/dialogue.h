/* What the fleet's servers say; they know of no sockets. */
#ifndef DIALOGUE_H
#define DIALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_LIMIT 2048 /* as Postfix's line_length_limit; for a proxy that of a whole request's head */

struct dialogue {
    uint32_t target;
    uint32_t address; /* of this server, in network order */
    bool is_proxy, has_mail, is_over;
    uint8_t errors;
};

extern int dialogue_denial;   /* 454 or 554 */
extern int dialogue_patience; /* errors before it slows down; 0: never */

/* Say the greeting, if this server speaks first. */
void dialogue_greet(struct dialogue *d);

/* Answer all that is complete in the input; give how many octets that was. Less than LINE_LIMIT are left. */
size_t dialogue_take(struct dialogue *d, const char *input, size_t length);

/* Whether the client has made so many errors that each reply waits. */
bool dialogue_is_slow(const struct dialogue *d);

/* Send this to the client; the engine's. */
void say(struct dialogue *d, const char *text, uint32_t length);

#endif
