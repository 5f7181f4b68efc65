// Stands between a process and its files (LD_PRELOAD): counts the calls that change something under one folder, and
// fails, cuts short or records them, or kills the process at one of them. Reaches SQLite and compiled libraries too.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, ONCE, ON, SHORT, TORN, KILL, KILL_TORN };
static char folder[PATH_MAX];
static int armed, how, code, log_fd = -1;
static long seen, nth, fired;
static char path_a[PATH_MAX], path_b[PATH_MAX];

void calls_arm(const char *where, long n, int kind, int error) {
  strncpy(folder, where, PATH_MAX - 1);
  nth = n, how = kind, code = error, seen = 0, fired = 0, armed = 1;
}
long calls_disarm(void) { armed = 0; return seen; }
long calls_fired(void) { return fired; }
void calls_record(int fd) { log_fd = fd; }

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

static int inside(const char *path) { size_t n = strlen(folder); return !strncmp(path, folder, n) && (!path[n] || path[n] == '/'); }

static int ours(const char *path, char *whole) {  // whether it is under the folder; `whole`: its absolute form
  if (!armed || !path) return 0;
  if (path[0] == '/') snprintf(whole, PATH_MAX, "%s", path);
  else {
    char here[PATH_MAX / 2];
    if (!getcwd(here, sizeof here)) return 0;
    snprintf(whole, PATH_MAX, "%s/%s", here, path);
  }
  return inside(whole);
}

static int ours_fd(int fd, char *whole) {
  if (!armed || fd == log_fd) return 0;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, whole, PATH_MAX - 1);
  if (n < 0) return 0;
  whole[n] = 0;
  return inside(whole);
}

static void record(char op, const char *a, const char *b, int64_t at, const void *data, int64_t size) {
  if (log_fd < 0) return;
  uint32_t na = strlen(a), nb = b ? strlen(b) : 0;
  syscall(SYS_write, log_fd, &op, 1);
  syscall(SYS_write, log_fd, &na, 4);
  syscall(SYS_write, log_fd, a, na);
  syscall(SYS_write, log_fd, &nb, 4);
  syscall(SYS_write, log_fd, b ? b : "", nb);
  syscall(SYS_write, log_fd, &at, 8);
  syscall(SYS_write, log_fd, &size, 8);
  if (data) syscall(SYS_write, log_fd, data, size);
}

void calls_mark(const char *text) { record('m', text, 0, 0, 0, 0); }

static int turn(void) {  // counts a call; what is to become of it: 0 nothing, 1 it fails, 2 half of it is done
  seen++;
  int now = how == ON ? seen >= nth : seen == nth;
  if (how == COUNT || !now) return 0;
  fired++;
  if (how == KILL) { syscall(SYS_kill, getpid(), SIGKILL); for (;;) pause(); }
  return how == ONCE || how == ON ? 1 : 2;
}
static void after_half(void) { if (how == KILL_TORN) { syscall(SYS_kill, getpid(), SIGKILL); for (;;) pause(); } }
#define FAIL() do { errno = code; return -1; } while (0)
// A call that cannot be cut short: TORN fails it; SHORT and KILL_TORN let it pass or kill before it.
#define WHOLE() do { int t = turn(); if (t == 2) after_half(); if (t == 1 || (t == 2 && how == TORN)) FAIL(); } while (0)

static int opened(const char *path, int flags) {
  if (!(flags & (O_CREAT | O_TRUNC)) || !ours(path, path_a)) return 0;
  return 1;
}
#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
    if (opened(path, flags)) { WHOLE(); record(flags & O_TRUNC ? 't' : 'o', path_a, 0, 0, 0, 0); } \
    return REAL(name)(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)
#define OPENAT(name) \
  int name(int at, const char *path, int flags, ...) { \
    va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
    if (at == AT_FDCWD && opened(path, flags)) { WHOLE(); record(flags & O_TRUNC ? 't' : 'o', path_a, 0, 0, 0, 0); } \
    return REAL(name)(at, path, flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
  if (!ours_fd(fd, path_a)) return REAL(write)(fd, data, size);
  int t = turn();
  if (t == 1) FAIL();
  if (t == 2) size = size > 1 ? size / 2 : size;
  int64_t at = fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
  record('w', path_a, 0, at, data, size);
  ssize_t n = REAL(write)(fd, data, size);
  if (t == 2) { after_half(); if (how == TORN) FAIL(); }
  return n;
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (!ours_fd(fd, path_a)) return REAL(writev)(fd, parts, count);
  return count ? write(fd, parts[0].iov_base, parts[0].iov_len) : 0;
}
#define PWRITE(name, offset) \
  ssize_t name(int fd, const void *data, size_t size, offset at) { \
    if (!ours_fd(fd, path_a)) return REAL(name)(fd, data, size, at); \
    int t = turn(); \
    if (t == 1) FAIL(); \
    if (t == 2) size = size > 1 ? size / 2 : size; \
    record('w', path_a, 0, at, data, size); \
    ssize_t n = REAL(name)(fd, data, size, at); \
    if (t == 2) { after_half(); if (how == TORN) FAIL(); } \
    return n; \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define ON_FD(name, op, args, pass, at) \
  int name args { if (ours_fd(fd, path_a)) { WHOLE(); record(op, path_a, 0, at, 0, 0); } return REAL(name) pass; }
ON_FD(fsync, 's', (int fd), (fd), 0)
ON_FD(fdatasync, 's', (int fd), (fd), 0)
ON_FD(ftruncate, 'c', (int fd, off_t at), (fd, at), at)
ON_FD(ftruncate64, 'c', (int fd, off64_t at), (fd, at), at)
ON_FD(fchmod, 'x', (int fd, mode_t mode), (fd, mode), 0)

#define ON_PATH(name, op, args, pass) \
  int name args { if (ours(path, path_a)) { WHOLE(); record(op, path_a, 0, 0, 0, 0); } return REAL(name) pass; }
ON_PATH(mkdir, 'd', (const char *path, mode_t mode), (path, mode))
ON_PATH(chmod, 'x', (const char *path, mode_t mode), (path, mode))

int rename(const char *a, const char *b) {
  if (ours(b, path_b) | ours(a, path_a)) { WHOLE(); record('r', path_a, path_b, 0, 0, 0); }
  return REAL(rename)(a, b);
}
int renameat(int x, const char *a, int y, const char *b) {
  if (ours(b, path_b) | ours(a, path_a)) { WHOLE(); record('r', path_a, path_b, 0, 0, 0); }
  return REAL(renameat)(x, a, y, b);
}
int renameat2(int x, const char *a, int y, const char *b, unsigned int flags) {
  if (ours(b, path_b) | ours(a, path_a)) { WHOLE(); record(flags ? 'e' : 'r', path_a, path_b, 0, 0, 0); }
  return REAL(renameat2)(x, a, y, b, flags);
}
int unlink(const char *path) {  // recorded; it does not fail: what it takes away is not wanted any more
  if (ours(path, path_a)) record('u', path_a, 0, 0, 0, 0);
  return REAL(unlink)(path);
}
