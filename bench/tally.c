#include "tally.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[word_count] = {
#define X(name) #name,
    TALLY_WORDS
#undef X
};

static struct target *targets;
static uint32_t used, room;
static uint32_t *slots; /* number + 1, or 0; twice as many as there is room for targets */

static void *need(void *memory) {
    if (memory == NULL) {
        fputs("fleet: no memory\n", stderr);
        exit(3);
    }
    return memory;
}

static uint32_t *find_slot(uint32_t address) {
    uint32_t place = (address * 2654435761u) >> 7;
    for (;; place++) {
        uint32_t *slot = &slots[place & (2 * room - 1)];
        if (*slot == 0 || targets[*slot - 1].address == address)
            return slot;
    }
}

static void grow(void) {
    room = room ? 2 * room : 1024; /* a power of two, for find_slot */
    targets = need(realloc(targets, room * sizeof *targets));
    free(slots);
    slots = need(calloc(2 * (size_t)room, sizeof *slots));
    for (uint32_t number = 0; number < used; number++)
        *find_slot(targets[number].address) = number + 1;
}

uint32_t tally_target(uint32_t address) {
    if (used == room)
        grow();
    uint32_t *slot = find_slot(address);
    if (*slot == 0) {
        memset(&targets[used], 0, sizeof *targets);
        targets[used].address = address;
        *slot = ++used;
    }
    return *slot - 1;
}

struct target *tally_at(uint32_t number) { return &targets[number]; }

static void write_counts(FILE *file, const char *label, const uint64_t counts[word_count]) {
    const char *comma = "";
    fprintf(file, "\"%s\":{", label);
    for (int word = 0; word < word_count; word++, comma = ",")
        fprintf(file, "%s\"%s\":%llu", comma, names[word], (unsigned long long)counts[word]);
    fputc('}', file);
}

void tally_write(FILE *file) {
    uint64_t sums[word_count] = {0}, least[word_count], most[word_count] = {0};
    memset(least, 0xff, sizeof least);
    if (used == 0)
        memset(least, 0, sizeof least);
    for (uint32_t number = 0; number < used; number++)
        for (int word = 0; word < word_count; word++) {
            uint32_t count = targets[number].count[word];
            sums[word] += count;
            least[word] = count < least[word] ? count : least[word];
            most[word] = count > most[word] ? count : most[word];
        }
    fprintf(file, "{\"targets\":%u,", used);
    write_counts(file, "sum", sums);
    fputc(',', file);
    write_counts(file, "least", least);
    fputc(',', file);
    write_counts(file, "most", most);
    fputs("}\n", file);
    fflush(file);
}

void tally_write_targets(FILE *file) {
    for (uint32_t number = 0; number < used; number++) {
        char text[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &targets[number].address, text, sizeof text);
        fprintf(file, "{\"address\":\"%s\"", text);
        for (int word = 0; word < word_count; word++)
            if (targets[number].count[word])
                fprintf(file, ",\"%s\":%u", names[word], targets[number].count[word]);
        fputs("}\n", file);
    }
}
