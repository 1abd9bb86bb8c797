/* Runs one contender on one processor, and puts down what it cost, its children included.
 *
 *   measure CPU FILE COMMAND...
 *
 * A small launcher, since the peak memory of a process begins with that of whoever started it. `waited` is the time
 * that the command's first thread stood in a run queue: others were on its processor then.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec / 1e6; }

static double clock_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double queue_wait(pid_t child) {
    char path[64];
    unsigned long long ran = 0, waited = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", child);
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%llu %llu", &ran, &waited) != 2)
            waited = 0;
        fclose(file);
    }
    return (double)waited / 1e9;
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)atoi(argv[1]), &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        perror("sched_setaffinity");
    double began = clock_now();
    pid_t child = fork();
    if (child < 0)
        return 2;
    if (child == 0) {
        execvp(argv[3], argv + 3);
        perror(argv[3]);
        _exit(127);
    }
    siginfo_t info;
    waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
    double wall = clock_now() - began, waited = queue_wait(child);
    int status;
    struct rusage used;
    if (wait4(child, &status, 0, &used) < 0)
        return 2;
    FILE *file = fopen(argv[2], "w");
    if (file == NULL)
        return 2;
    fprintf(file, "{\"wall\":%.6f,\"user\":%.6f,\"system\":%.6f,\"peak_kib\":%ld,\"waited\":%.6f,\"status\":%d}\n", wall,
            seconds(used.ru_utime), seconds(used.ru_stime), used.ru_maxrss, waited,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return fclose(file) ? 2 : 0;
}
