// Stands between a process and its memory (LD_PRELOAD, beside calls.c): counts allocations of some size and more, and
// refuses one of them, or all from there on, as the system does when there is none left.
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static volatile int armed, on;
static long seen, nth, fired;
static size_t least;

void memory_arm(size_t size, long n, int from_there_on) { least = size, nth = n, on = from_there_on, seen = fired = 0, armed = 1; }
long memory_disarm(void) { armed = 0; return seen; }
long memory_fired(void) { return fired; }

static int refused(size_t size) {
  if (!armed || size < least) return 0;
  long now = __sync_add_and_fetch(&seen, 1);
  if (!nth || (on ? now < nth : now != nth)) return 0;
  __sync_add_and_fetch(&fired, 1);
  errno = ENOMEM;
  return 1;
}

void *malloc(size_t size) { return refused(size) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return refused(count * size) ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return refused(size) ? NULL : __libc_realloc(old, size); }
void *aligned_alloc(size_t step, size_t size) { return refused(size) ? NULL : __libc_memalign(step, size); }
void *memalign(size_t step, size_t size) { return refused(size) ? NULL : __libc_memalign(step, size); }
int posix_memalign(void **out, size_t step, size_t size) {
  if (refused(size)) return ENOMEM;
  void *made = __libc_memalign(step, size);
  if (!made) return ENOMEM;
  *out = made;
  return 0;
}
