/* Writes down, in order, all that a process does to the ledger's files, and fails one call when it is told to.
 *
 * Loaded with LD_PRELOAD by tests. DISK_SHIM_DIRECTORY is watched; DISK_SHIM_LOG gets a record of each call once it is done. Where a
 * file DISK_SHIM_LOG + ".write" or ".sync" exists, the next such call to the database or its log fails with EIO, once, and that file
 * goes away. A record: kind, length of the name, offset, size (little-endian, 1 + 4 + 8 + 8 bytes), name, data.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static char directory[4096], log_path[4096];
static size_t directory_length;
static int log_descriptor = -1;

__attribute__((constructor)) static void begin(void) {
    const char *watched = getenv("DISK_SHIM_DIRECTORY"), *log = getenv("DISK_SHIM_LOG");
    if (!watched || !log) return;
    snprintf(directory, sizeof directory, "%s", watched);
    snprintf(log_path, sizeof log_path, "%s", log);
    directory_length = strlen(directory);
    log_descriptor = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* The name within the watched directory, "" for the directory itself, NULL for what is not watched. */
static const char *inside(const char *path) {
    if (log_descriptor < 0 || strncmp(path, directory, directory_length)) return NULL;
    if (!path[directory_length]) return path + directory_length;
    if (path[directory_length] != '/') return NULL;
    const char *name = path + directory_length + 1;
    size_t length = strlen(name);
    return length > 4 && !strcmp(name + length - 4, "-shm") ? NULL : name;
}

static const char *name_of(int descriptor, char *path, size_t room) {
    char link[64];
    if (log_descriptor < 0 || descriptor == log_descriptor) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, room - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    return inside(path);
}

static void note(char kind, const char *name, uint64_t offset, uint64_t size, const void *data, size_t length) {
    uint8_t head[21];
    uint32_t name_length = (uint32_t)strlen(name);
    head[0] = (uint8_t)kind;
    memcpy(head + 1, &name_length, 4);
    memcpy(head + 5, &offset, 8);
    memcpy(head + 13, &size, 8);
    struct iovec parts[3] = {{head, sizeof head}, {(void *)name, name_length}, {(void *)data, length}};
    syscall(SYS_writev, log_descriptor, parts, 3);
}

static int fails(const char *name, const char *what) {
    char told[4200];
    if (strcmp(name, "ledger.db") && strcmp(name, "ledger.db-wal")) return 0;
    snprintf(told, sizeof told, "%s.%s", log_path, what);
    return unlink(told) == 0;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define WATCH(descriptor) char path[4096]; const char *name = name_of(descriptor, path, sizeof path)

static ssize_t wrote(const char *name, uint64_t offset, const void *data, ssize_t done) {
    int kept = errno;
    if (done > 0) note('W', name, offset, (uint64_t)done, data, (size_t)done);
    errno = kept;
    return done;
}

#define PWRITE(symbol, offset_type) \
    ssize_t symbol(int descriptor, const void *data, size_t size, offset_type offset) { \
        REAL(symbol); WATCH(descriptor); \
        if (!name) return real(descriptor, data, size, offset); \
        pthread_mutex_lock(&order); \
        ssize_t done; \
        if (fails(name, "write")) { note('w', name, (uint64_t)offset, size, "", 0); errno = EIO; done = -1; } \
        else done = wrote(name, (uint64_t)offset, data, real(descriptor, data, size, offset)); \
        pthread_mutex_unlock(&order); \
        return done; \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(write); WATCH(descriptor);
    if (!name) return real(descriptor, data, size);
    pthread_mutex_lock(&order);
    off_t offset = lseek(descriptor, 0, fcntl(descriptor, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t done = wrote(name, (uint64_t)offset, data, real(descriptor, data, size));
    pthread_mutex_unlock(&order);
    return done;
}

#define SYNC(symbol) \
    int symbol(int descriptor) { \
        REAL(symbol); WATCH(descriptor); \
        if (!name) return real(descriptor); \
        pthread_mutex_lock(&order); \
        int done = -1; \
        if (fails(name, "sync")) { note('s', name, 0, 0, "", 0); errno = EIO; } \
        else if ((done = real(descriptor)) == 0) note('S', name, 0, 0, "", 0); \
        pthread_mutex_unlock(&order); \
        return done; \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(symbol, offset_type) \
    int symbol(int descriptor, offset_type size) { \
        REAL(symbol); WATCH(descriptor); \
        if (!name) return real(descriptor, size); \
        pthread_mutex_lock(&order); \
        int done = real(descriptor, size); \
        if (!done) note('T', name, 0, (uint64_t)size, "", 0); \
        pthread_mutex_unlock(&order); \
        return done; \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define ALLOCATE(symbol, offset_type) \
    int symbol(int descriptor, offset_type offset, offset_type size) { \
        REAL(symbol); WATCH(descriptor); \
        if (!name) return real(descriptor, offset, size); \
        pthread_mutex_lock(&order); \
        int done = real(descriptor, offset, size); \
        if (!done) note('E', name, (uint64_t)offset, (uint64_t)size, "", 0); \
        pthread_mutex_unlock(&order); \
        return done; \
    }
ALLOCATE(posix_fallocate, off_t)
ALLOCATE(posix_fallocate64, off64_t)

int rename(const char *before, const char *after) {
    REAL(rename);
    const char *from = inside(before), *to = inside(after);
    if (!from || !to) return real(before, after);
    pthread_mutex_lock(&order);
    int done = real(before, after);
    if (!done) note('R', from, 0, strlen(to), to, strlen(to));
    pthread_mutex_unlock(&order);
    return done;
}
