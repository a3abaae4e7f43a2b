// Prints the time by every call that tells it, waits until times of day, and says what is not as it should be. It is
// linked statically, so that no library can be put in its way.
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static struct timespec soon(void) {
  struct timespec at;
  clock_gettime(CLOCK_REALTIME, &at);
  at.tv_nsec += 50000000;
  if (at.tv_nsec >= 1000000000) at.tv_sec++, at.tv_nsec -= 1000000000;
  return at;
}

static void *thread(void *unused) {
  printf("%ld\n", (long)time(NULL));
  return unused;
}

// clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, NULL), and whether the registers are afterwards as before.
static int sleep_until(struct timespec at) {
  long result;
  const struct timespec *pointer = &at;
  register void *left asm("r10") = NULL;
  asm volatile("syscall" : "=a"(result), "+d"(pointer), "+r"(left)
               : "0"((long)SYS_clock_nanosleep), "D"(0L), "S"((long)TIMER_ABSTIME) : "rcx", "r11", "memory");
  return result == 0 && pointer == &at;
}

int main(void) {
  alarm(60);
  struct timespec now;
  struct timeval day;
  const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_REALTIME_COARSE, CLOCK_TAI};
  for (int i = 0; i < 3; i++) {
    clock_gettime(clocks[i], &now);
    printf("%ld\n", (long)now.tv_sec);
  }
  gettimeofday(&day, NULL);
  printf("%ld\n%ld\n%ld\n", (long)day.tv_sec, (long)time(NULL), (long)syscall(SYS_time, NULL));
  pthread_t other;
  if (pthread_create(&other, NULL, thread, NULL) || pthread_join(other, NULL)) puts("no thread");
  fflush(stdout);
  if (!fork()) {
    printf("%ld\n", (long)time(NULL));
    return 0;
  }

  struct timespec at = soon(), before = at;
  if (!sleep_until(at)) puts("clock_nanosleep");
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  at = before = soon();
  if (sem_timedwait(&semaphore, &at) == 0 || errno != ETIMEDOUT) puts("sem_timedwait");
  if (at.tv_sec != before.tv_sec || at.tv_nsec != before.tv_nsec) puts("the time to wait for was changed");
  struct itimerspec when = {.it_value = soon()};
  int timer = timerfd_create(CLOCK_REALTIME, 0);
  unsigned long long times;
  if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL) || read(timer, &times, 8) != 8) puts("timerfd");
  clock_gettime(CLOCK_MONOTONIC, &when.it_value);
  timer = timerfd_create(CLOCK_MONOTONIC, 0);
  if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL) || read(timer, &times, 8) != 8) puts("monotonic timerfd");
  errno = 0;
  if (syscall(SYS_clock_gettime, CLOCK_REALTIME, 8) != -1 || errno != EFAULT) puts("a wrong address");
  if (syscall(SYS_clock_gettime, 99, &now) != -1 || errno != EINVAL) puts("a wrong clock");
  return 0;
}
