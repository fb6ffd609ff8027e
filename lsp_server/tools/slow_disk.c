/* A disk that answers late: preloaded into a process, it makes every look at files below MEZZOTINT_SLOW_FOLDER wait for
 * MEZZOTINT_SLOW_MS. For `mezzotint bench loopstall` on Linux (slow_disk.py). No header that declares what is replaced. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#define HERE (-100) /* AT_FDCWD: a path that is not absolute begins in the working folder */

long syscall(long number, ...);

static int is_below(const char *path, const char *folder) {
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static void name_of(int descriptor, char *name, size_t size) {
    char link[64] = "/proc/self/cwd";
    if (descriptor != HERE) {
        char digits[16], *digit = digits + sizeof digits;
        *--digit = '\0';
        do *--digit = '0' + descriptor % 10; while (descriptor /= 10);
        strcpy(link, "/proc/self/fd/");
        strcat(link, digit);
    }
    long length = syscall(SYS_readlinkat, HERE, link, name, size - 1);
    name[length > 0 ? length : 0] = '\0';
}

static void delay(int folder_descriptor, const char *path) {
    const char *folder = getenv("MEZZOTINT_SLOW_FOLDER"), *ms = getenv("MEZZOTINT_SLOW_MS");
    char name[4096];
    if (!folder || !ms) return;
    if (!path || path[0] != '/') {
        if (folder_descriptor < 0 && folder_descriptor != HERE) return;
        name_of(folder_descriptor, name, sizeof name);
        path = name;
    }
    if (is_below(path, folder)) {
        struct timespec left = {atoi(ms) / 1000, atoi(ms) % 1000 * 1000000L};
        while (nanosleep(&left, &left)) {}
    }
}

#define SLOW(type, name, parameters, arguments, descriptor, path) \
    type name parameters {                                         \
        static type(*real) parameters;                             \
        if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);      \
        delay(descriptor, path);                                   \
        return real arguments;                                     \
    }

SLOW(int, open, (const char *path, int flags, unsigned mode), (path, flags, mode), HERE, path)
SLOW(int, open64, (const char *path, int flags, unsigned mode), (path, flags, mode), HERE, path)
SLOW(int, openat, (int at, const char *path, int flags, unsigned mode), (at, path, flags, mode), at, path)
SLOW(int, openat64, (int at, const char *path, int flags, unsigned mode), (at, path, flags, mode), at, path)
SLOW(void *, fopen, (const char *path, const char *mode), (path, mode), HERE, path)
SLOW(void *, fopen64, (const char *path, const char *mode), (path, mode), HERE, path)
SLOW(void *, opendir, (const char *path), (path), HERE, path)
SLOW(int, stat, (const char *path, void *status), (path, status), HERE, path)
SLOW(int, stat64, (const char *path, void *status), (path, status), HERE, path)
SLOW(int, lstat, (const char *path, void *status), (path, status), HERE, path)
SLOW(int, lstat64, (const char *path, void *status), (path, status), HERE, path)
SLOW(int, fstatat, (int at, const char *path, void *status, int flags), (at, path, status, flags), at, path)
SLOW(int, fstatat64, (int at, const char *path, void *status, int flags), (at, path, status, flags), at, path)
SLOW(int, access, (const char *path, int mode), (path, mode), HERE, path)
SLOW(long, readlink, (const char *path, char *name, size_t size), (path, name, size), HERE, path)
SLOW(long, read, (int from, void *bytes, size_t size), (from, bytes, size), from, NULL)
