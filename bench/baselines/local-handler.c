// local-handler: the least that can answer a page fault. A fault handler whose pages lie in its own memory: it reads the
// fault and places the page, and nothing is between. What any transport adds is what is more than this.
// Build: cc -O2 -o local-handler local-handler.c
//
//   local-handler --socket S --mib N [--wait block|spin]     for one `pagebase client --socket S --mib N`, one region
#define _GNU_SOURCE
#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PAGE 4096ull
#define die(m) do { perror(m); exit(1); } while (0)

// As in pagebase.c, whose client checks every byte.
static uint64_t mix(uint64_t x) { x ^= x >> 33; x *= 0xff51afd7ed558ccdull; x ^= x >> 33; x *= 0xc4ceb9fe1a85ec53ull; return x ^ x >> 33; }
static uint64_t field(const char *b, const char *k) { const char *p = strstr(b, k); return p ? strtoull(p + strlen(k) + 1, 0, 10) : 0; }

int main(int argc, char **argv) {
  const char *path = "", *mib = "0"; int spin = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!strcmp(argv[i], "--socket")) path = argv[i + 1];
    else if (!strcmp(argv[i], "--mib")) mib = argv[i + 1];
    else if (!strcmp(argv[i], "--wait")) spin = !strcmp(argv[i + 1], "spin");
  }
  uint64_t bytes = strtoull(mib, 0, 10) << 20;
  char *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); if (memory == MAP_FAILED) die("mmap");
  for (uint64_t i = 0; i < bytes / 8; i++) ((uint64_t *)memory)[i] = mix(i + 1);

  int l = socket(AF_UNIX, SOCK_STREAM, 0); struct sockaddr_un u = {.sun_family = AF_UNIX}; strncpy(u.sun_path, path, sizeof u.sun_path - 1);
  if (bind(l, (void *)&u, sizeof u) || listen(l, 1)) die(path);
  fprintf(stderr, "handler ready\n");
  int c = accept(l, 0, 0), uffd; unlink(path);
  char body[65536], control[CMSG_SPACE(sizeof(int))]; struct iovec v = {body, sizeof body - 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  ssize_t n = recvmsg(c, &m, 0); if (n <= 0 || !CMSG_FIRSTHDR(&m)) die("recvmsg");
  body[n] = 0; memcpy(&uffd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof uffd);
  uint64_t base = field(body, "base_host_virt_addr\"");

  struct uffd_msg msg; struct pollfd p[2] = {{uffd, POLLIN, 0}, {c, POLLIN, 0}};
  for (uint64_t turns = 0;;) {
    if (!spin) { poll(p, 2, -1); if (p[1].revents && !(p[0].revents & POLLIN)) return 0; }
    if (read(uffd, &msg, sizeof msg) != sizeof msg) { if (spin && !(++turns & 1023) && poll(p + 1, 1, 0) > 0) return 0; continue; }
    if (msg.event != UFFD_EVENT_PAGEFAULT) continue;
    uint64_t to = msg.arg.pagefault.address & ~(PAGE - 1);
    struct uffdio_copy k = {.dst = to, .src = (uintptr_t)memory + to - base, .len = PAGE};
    while (ioctl(uffd, UFFDIO_COPY, &k) && errno == EAGAIN);
  }
}
