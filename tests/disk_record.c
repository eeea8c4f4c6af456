/* Records what a process changes on disk below a folder, for tests/disk_record.py.

   cc -shared -fPIC -o disk_record.so disk_record.c -ldl
   LD_PRELOAD=disk_record.so DISK_RECORD_FOLDER=FOLDER DISK_RECORD=FILE PROGRAM

   Each call of the C library that creates, writes, cuts, names or syncs a file below FOLDER appends
   one record to FILE, once the call has succeeded:

       KIND INODE OFFSET SIZE LENGTH OTHER\n   a line of text; KIND is a word
       LENGTH bytes                            the path of the file, or the older path of a rename
       OTHER bytes                             the newer path of a rename or a link
       SIZE bytes                              the content, where KIND is write, safe or text

   create  a new file; its inode number may be that of a removed one
   write   bytes at OFFSET                    safe    the same, and the bytes are on disk (O_DSYNC)
   cut     the file has OFFSET bytes now      sync    content or names are on disk
   folder  a new folder                       text    bytes that went to stdout or stderr
   remove, remove_folder, rename, link; sync_all: everything is on disk

   A lock makes a call and its record one step for the threads of a process. Mapped memory is
   recorded when it is synced or unmapped, and streams of stdio when they are flushed or closed: as
   the content of the whole file. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MAPS 64

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char record[PATH_MAX], folder[PATH_MAX];
static size_t folder_length;

/* The shared maps of files, which msync writes. */
static struct { void *start; size_t length; ino_t inode; char path[PATH_MAX]; } maps[MAPS];

static void unlock_child(void) { /* the thread that forked is the only one of the child */
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &kind);
}

__attribute__((constructor)) static void start(void) {
    const char *file = getenv("DISK_RECORD"), *root = getenv("DISK_RECORD_FOLDER");
    if (!file || !root || !realpath(root, folder) || strlen(file) >= sizeof record) return;
    strcpy(record, file);
    folder_length = strlen(folder);
    pthread_atfork(NULL, NULL, unlock_child);
}

/* ---- paths ---------------------------------------------------------------------------------- */

static int is_below(const char *path) {
    return folder_length && !strncmp(path, folder, folder_length) &&
           (path[folder_length] == '/' || !path[folder_length]);
}

/* The path of an open file; returns whether it is below the folder. */
static int path_of(int file, char *path) {
    char link[64];
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = folder_length ? readlink(link, path, PATH_MAX - 1) : -1;
    errno = kept;
    path[length < 0 ? 0 : length] = 0;
    return is_below(path);
}

/* The path of a name, with the links of its folders followed; the last part is left as it is. */
static int resolve(int at, const char *name, char *path) {
    char whole[PATH_MAX], parent[PATH_MAX];
    int kept = errno, below = 0;
    if (!folder_length || !name) return 0;
    if (name[0] == '/') snprintf(whole, sizeof whole, "%s", name);
    else {
        if (at == AT_FDCWD) { if (!getcwd(parent, sizeof parent)) parent[0] = 0; }
        else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            ssize_t length = readlink(link, parent, PATH_MAX - 1);
            parent[length < 0 ? 0 : length] = 0;
        }
        if (snprintf(whole, sizeof whole, "%s/%s", parent, name) >= (int)sizeof whole) return 0;
    }
    size_t end = strlen(whole);
    while (end > 1 && whole[end - 1] == '/') whole[--end] = 0;
    char *slash = strrchr(whole, '/');
    if (slash) {
        *slash = 0;
        if (realpath(*whole ? whole : "/", parent) &&
            snprintf(path, PATH_MAX, "%s/%s", parent, slash + 1) < PATH_MAX)
            below = is_below(path);
    }
    errno = kept;
    return below;
}

/* ---- records -------------------------------------------------------------------------------- */

static void put(const char *kind, ino_t inode, off_t offset, const char *path, const char *other,
                const void *content, size_t size) {
    char head[256];
    int kept = errno;
    size_t length = path ? strlen(path) : 0, second = other ? strlen(other) : 0;
    int n = snprintf(head, sizeof head, "%s %llu %lld %zu %zu %zu\n", kind,
                     (unsigned long long)inode, (long long)offset, size, length, second);
    struct iovec parts[] = {{head, (size_t)n}, {(void *)path, length}, {(void *)other, second},
                            {(void *)content, size}};
    int file = (int)syscall(SYS_openat, AT_FDCWD, record,
                            O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (file >= 0) {
        syscall(SYS_writev, file, parts, 4);
        syscall(SYS_close, file);
    }
    errno = kept;
}

static ino_t inode_of(int file) {
    struct stat status;
    return fstat(file, &status) ? 0 : status.st_ino;
}

static void put_write(int file, const char *path, off_t offset, const void *content, size_t size) {
    int flags = fcntl(file, F_GETFL);
    put(flags >= 0 && flags & O_DSYNC ? "safe" : "write", inode_of(file), offset, path, NULL,
        content, size);
}

/* Record the whole content of a file, after something wrote to it unseen. */
static void put_content(ino_t inode, const char *path) {
    int kept = errno, file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file >= 0 && !fstat(file, &status) && status.st_ino == inode) {
        char *content = malloc((size_t)status.st_size + 1);
        ssize_t size = content ? pread(file, content, (size_t)status.st_size, 0) : -1;
        if (size >= 0) {
            put("cut", inode, size, path, NULL, NULL, 0);
            put("write", inode, 0, path, NULL, content, (size_t)size);
        }
        free(content);
    }
    if (file >= 0) syscall(SYS_close, file);
    errno = kept;
}

static void put_descriptor(int file) {
    char path[PATH_MAX];
    if (path_of(file, path)) put_content(inode_of(file), path);
}

/* ---- files that are opened ------------------------------------------------------------------ */

static int open_recorded(int at, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    struct stat status;
    if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE ||
        !resolve(at, name, path))
        return (int)syscall(SYS_openat, at, name, flags, mode);
    pthread_mutex_lock(&lock);
    int existed = !fstatat(at, name, &status, 0);
    int file = (int)syscall(SYS_openat, at, name, flags, mode);
    if (file >= 0 && !existed) put("create", inode_of(file), 0, path, NULL, NULL, 0);
    else if (file >= 0 && flags & O_TRUNC && path_of(file, path))
        put("cut", inode_of(file), 0, path, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return file;
}

#define MODE(flags, mode)                                                                          \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                         \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }
int open(const char *name, int flags, ...) {
    MODE(flags, mode)
    return open_recorded(AT_FDCWD, name, flags, mode);
}
int open64(const char *name, int flags, ...) {
    MODE(flags, mode)
    return open_recorded(AT_FDCWD, name, flags | O_LARGEFILE, mode);
}
int openat(int at, const char *name, int flags, ...) {
    MODE(flags, mode)
    return open_recorded(at, name, flags, mode);
}
int openat64(int at, const char *name, int flags, ...) {
    MODE(flags, mode)
    return open_recorded(at, name, flags | O_LARGEFILE, mode);
}
int creat(const char *name, mode_t mode) {
    return open_recorded(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *name, mode_t mode) { return creat(name, mode); }

/* The wrappers that gcc's checks of buffers call. */
int __open_2(const char *name, int flags) { return open_recorded(AT_FDCWD, name, flags, 0); }
int __open64_2(const char *name, int flags) { return open_recorded(AT_FDCWD, name, flags, 0); }

/* ---- content -------------------------------------------------------------------------------- */

/* Where the next bytes of a file go. */
static off_t position(int file) {
    int flags = fcntl(file, F_GETFL);
    return lseek(file, 0, flags >= 0 && flags & O_APPEND ? SEEK_END : SEEK_CUR);
}

static ssize_t write_recorded(int file, const struct iovec *parts, int count, off_t offset) {
    char path[PATH_MAX];
    int streams = file == 1 || file == 2, below = path_of(file, path);
    if (!folder_length || !(streams || below))
        return offset < 0 ? syscall(SYS_writev, file, parts, count)
                          : syscall(SYS_pwritev, file, parts, count, offset, 0);
    pthread_mutex_lock(&lock);
    off_t start = offset >= 0 || !below ? offset : position(file);
    ssize_t size = offset < 0 ? syscall(SYS_writev, file, parts, count)
                              : syscall(SYS_pwritev, file, parts, count, offset, 0);
    ssize_t left = size;
    for (int i = 0; i < count && left > 0; i++) {
        size_t part = (size_t)left < parts[i].iov_len ? (size_t)left : parts[i].iov_len;
        if (below) put_write(file, path, start, parts[i].iov_base, part);
        else put("text", 0, file, NULL, NULL, parts[i].iov_base, part);
        start += (off_t)part;
        left -= (ssize_t)part;
    }
    pthread_mutex_unlock(&lock);
    return size;
}

ssize_t write(int file, const void *content, size_t size) {
    struct iovec part = {(void *)content, size};
    return write_recorded(file, &part, 1, -1);
}
ssize_t pwrite(int file, const void *content, size_t size, off_t offset) {
    struct iovec part = {(void *)content, size};
    return write_recorded(file, &part, 1, offset);
}
ssize_t pwrite64(int file, const void *content, size_t size, off64_t offset) {
    return pwrite(file, content, size, offset);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    return write_recorded(file, parts, count, -1);
}
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset) {
    return write_recorded(file, parts, count, offset);
}
ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset) {
    return write_recorded(file, parts, count, offset);
}

/* Copies inside the kernel: the content is read back. */
#define COPY(declaration, file, call)                                                              \
    declaration {                                                                                  \
        pthread_mutex_lock(&lock);                                                                 \
        ssize_t copied = call;                                                                     \
        if (copied > 0) put_descriptor(file);                                                      \
        pthread_mutex_unlock(&lock);                                                               \
        return copied;                                                                             \
    }
COPY(ssize_t sendfile(int to, int from, off_t *offset, size_t size), to,
     REAL(sendfile)(to, from, offset, size))
COPY(ssize_t sendfile64(int to, int from, off64_t *offset, size_t size), to,
     REAL(sendfile64)(to, from, offset, size))
COPY(ssize_t copy_file_range(int from, off64_t *start, int to, off64_t *offset, size_t size,
                             unsigned flags), to,
     REAL(copy_file_range)(from, start, to, offset, size, flags))

static int cut(int file, const char *name, off_t size) {
    char path[PATH_MAX];
    struct stat status;
    pthread_mutex_lock(&lock);
    int below = name ? resolve(AT_FDCWD, name, path) : path_of(file, path);
    int failed = (int)(name ? syscall(SYS_truncate, name, size)
                            : syscall(SYS_ftruncate, file, size));
    if (!failed && below && !(name ? stat(name, &status) : fstat(file, &status)))
        put("cut", status.st_ino, size, path, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return failed;
}
int ftruncate(int file, off_t size) { return cut(file, NULL, size); }
int ftruncate64(int file, off64_t size) { return cut(file, NULL, size); }
int truncate(const char *name, off_t size) { return cut(-1, name, size); }
int truncate64(const char *name, off64_t size) { return cut(-1, name, size); }

int posix_fallocate(int file, off_t offset, off_t size) {
    pthread_mutex_lock(&lock);
    int failed = REAL(posix_fallocate)(file, offset, size);
    if (!failed) put_descriptor(file);
    pthread_mutex_unlock(&lock);
    return failed;
}
int posix_fallocate64(int file, off64_t offset, off64_t size) {
    return posix_fallocate(file, offset, size);
}

/* ---- memory that is mapped ------------------------------------------------------------------ */

void *mmap(void *start, size_t length, int protection, int flags, int file, off_t offset) {
    void *address = (void *)syscall(SYS_mmap, start, length, protection, flags, file, offset);
    char path[PATH_MAX];
    if (address != MAP_FAILED && file >= 0 && protection & PROT_WRITE && flags & MAP_SHARED &&
        path_of(file, path)) {
        pthread_mutex_lock(&lock);
        for (int i = 0; i < MAPS; i++)
            if (!maps[i].start) {
                maps[i].start = address;
                maps[i].length = length;
                maps[i].inode = inode_of(file);
                strcpy(maps[i].path, path);
                break;
            }
        pthread_mutex_unlock(&lock);
    }
    return address;
}
void *mmap64(void *start, size_t length, int protection, int flags, int file, off64_t offset) {
    return mmap(start, length, protection, flags, file, offset);
}

/* Record the content of the map that holds an address; synced: also that it is on disk. */
static void put_map(void *address, int synced, int forget) {
    for (int i = 0; i < MAPS; i++)
        if (maps[i].start && (char *)address >= (char *)maps[i].start &&
            (char *)address < (char *)maps[i].start + maps[i].length) {
            put_content(maps[i].inode, maps[i].path);
            if (synced) put("sync", maps[i].inode, 0, maps[i].path, NULL, NULL, 0);
            if (forget && address == maps[i].start) maps[i].start = NULL;
        }
}
int msync(void *start, size_t length, int flags) {
    pthread_mutex_lock(&lock);
    int failed = (int)syscall(SYS_msync, start, length, flags);
    if (!failed) put_map(start, flags & MS_SYNC, 0);
    pthread_mutex_unlock(&lock);
    return failed;
}
int munmap(void *start, size_t length) {
    pthread_mutex_lock(&lock);
    put_map(start, 0, 1);
    int failed = (int)syscall(SYS_munmap, start, length);
    pthread_mutex_unlock(&lock);
    return failed;
}

/* ---- streams of stdio ----------------------------------------------------------------------- */

static FILE *open_stream(const char *name, const char *mode) {
    int plus = !!strchr(mode, '+'), flags = O_RDONLY;
    if (mode[0] == 'w') flags = (plus ? O_RDWR : O_WRONLY) | O_CREAT | O_TRUNC;
    else if (mode[0] == 'a') flags = (plus ? O_RDWR : O_WRONLY) | O_CREAT | O_APPEND;
    else if (plus) flags = O_RDWR;
    if (strchr(mode, 'x')) flags |= O_EXCL;
    if (strchr(mode, 'e')) flags |= O_CLOEXEC;
    int file = open_recorded(AT_FDCWD, name, flags, 0666);
    FILE *stream = file < 0 ? NULL : fdopen(file, mode);
    if (file >= 0 && !stream) syscall(SYS_close, file);
    return stream;
}
FILE *fopen(const char *name, const char *mode) {
    char path[PATH_MAX];
    if (mode[0] != 'r' && resolve(AT_FDCWD, name, path)) return open_stream(name, mode);
    return REAL(fopen)(name, mode);
}
FILE *fopen64(const char *name, const char *mode) {
    char path[PATH_MAX];
    if (mode[0] != 'r' && resolve(AT_FDCWD, name, path)) return open_stream(name, mode);
    return REAL(fopen64)(name, mode);
}
static int is_written(int file) {
    int flags = fcntl(file, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}
int fflush(FILE *stream) {
    if (!stream) return REAL(fflush)(stream);
    pthread_mutex_lock(&lock);
    int failed = REAL(fflush)(stream), file = fileno(stream);
    if (file > 2 && is_written(file)) put_descriptor(file);
    pthread_mutex_unlock(&lock);
    return failed;
}
int fclose(FILE *stream) {
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    int file = fileno(stream), below = file > 2 && is_written(file) && path_of(file, path);
    ino_t inode = below ? inode_of(file) : 0;
    int failed = REAL(fclose)(stream);
    if (below) put_content(inode, path);
    pthread_mutex_unlock(&lock);
    return failed;
}

/* ---- names and syncs ------------------------------------------------------------------------ */

static int sync_recorded(int file, int (*real)(int)) {
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    int failed = real(file);
    if (!failed && path_of(file, path)) put("sync", inode_of(file), 0, path, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return failed;
}
int fsync(int file) { return sync_recorded(file, REAL(fsync)); }
int fdatasync(int file) { return sync_recorded(file, REAL(fdatasync)); }
int syncfs(int file) {
    int failed = REAL(syncfs)(file);
    if (!failed && folder_length) put("sync_all", 0, 0, NULL, NULL, NULL, 0);
    return failed;
}
void sync(void) {
    REAL(sync)();
    if (folder_length) put("sync_all", 0, 0, NULL, NULL, NULL, 0);
}

/* A call that changes the names `name` and, if there are two, `newer`. */
static int change(const char *kind, int at, const char *name, int to, const char *newer, int flags,
                  mode_t mode) {
    char path[PATH_MAX], other[PATH_MAX];
    struct stat status = {0};
    int failed;
    pthread_mutex_lock(&lock);
    int below = resolve(at, name, path), second = newer && resolve(to, newer, other);
    if (newer) fstatat(at, name, &status, AT_SYMLINK_NOFOLLOW);
    if (!strcmp(kind, "rename"))
        failed = (int)syscall(SYS_renameat2, at, name, to, newer, flags);
    else if (!strcmp(kind, "link")) failed = (int)syscall(SYS_linkat, at, name, to, newer, flags);
    else if (!strcmp(kind, "folder")) failed = (int)syscall(SYS_mkdirat, at, name, mode);
    else failed = (int)syscall(SYS_unlinkat, at, name, flags);
    if (!strcmp(kind, "folder") && !failed) fstatat(at, name, &status, 0);
    if (!failed && (below || second))
        put(kind, status.st_ino, 0, below ? path : "", second ? other : "", NULL, 0);
    pthread_mutex_unlock(&lock);
    return failed;
}
int rename(const char *name, const char *newer) {
    return change("rename", AT_FDCWD, name, AT_FDCWD, newer, 0, 0);
}
int renameat(int at, const char *name, int to, const char *newer) {
    return change("rename", at, name, to, newer, 0, 0);
}
int renameat2(int at, const char *name, int to, const char *newer, unsigned flags) {
    return change("rename", at, name, to, newer, (int)flags, 0);
}
int link(const char *name, const char *newer) {
    return change("link", AT_FDCWD, name, AT_FDCWD, newer, 0, 0);
}
int linkat(int at, const char *name, int to, const char *newer, int flags) {
    return change("link", at, name, to, newer, flags, 0);
}
int unlink(const char *name) { return change("remove", AT_FDCWD, name, 0, NULL, 0, 0); }
int unlinkat(int at, const char *name, int flags) {
    return change(flags & AT_REMOVEDIR ? "remove_folder" : "remove", at, name, 0, NULL, flags, 0);
}
int remove(const char *name) {
    struct stat status;
    if (!lstat(name, &status) && S_ISDIR(status.st_mode)) return rmdir(name);
    return unlink(name);
}
int rmdir(const char *name) {
    return change("remove_folder", AT_FDCWD, name, 0, NULL, AT_REMOVEDIR, 0);
}
int mkdir(const char *name, mode_t mode) {
    return change("folder", AT_FDCWD, name, 0, NULL, 0, mode);
}
int mkdirat(int at, const char *name, mode_t mode) {
    return change("folder", at, name, 0, NULL, 0, mode);
}
