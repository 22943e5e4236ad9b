package gadget

//go:generate go tool bpf2go -cc clang-16 -strip llvm-strip-16 -cflags "-O2 -g -Wall -Werror -mcpu=v3" -target amd64,arm64 -type open_event open ../bpf/open.bpf.c -- -I../bpf -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-16 -strip llvm-strip-16 -cflags "-O2 -g -Wall -Werror -mcpu=v3" -target amd64,arm64 -type tcp_event -type owner tcp ../bpf/tcp.bpf.c -- -I../bpf -I/usr/include/x86_64-linux-gnu
