// Command generate writes the names of system calls, and compiles each BPF program ../bpf/NAME.bpf.c into an object, with Go types for the structs whose
// names are in a declaration "unused_NAME": those that programs and Go share.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const suffix = ".bpf.c"

var shared = regexp.MustCompile(`(?m)^const struct \w+ \*unused_(\w+) `)

func main() {
	if err := errors.Join(generate("../bpf"), generateNames()); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// generate compiles the programs in a folder.
func generate(dir string) error {
	sources, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return err
	}
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(source), suffix)
		args := []string{"tool", "bpf2go", "-go-package", "gadget", "-cc", "clang-16", "-strip", "llvm-strip-16",
			"-cflags", "-O2 -g -Wall -Werror -mcpu=v3", "-target", "amd64,arm64"}
		for _, t := range shared.FindAllStringSubmatch(string(text), -1) {
			args = append(args, "-type", t[1])
		}
		// The directory of /usr/include has asm/types.h on Debian; its headers are the same for both targets.
		args = append(args, name, source, "--", "-I"+dir, "-I/usr/include/x86_64-linux-gnu")
		cmd := exec.Command("go", args...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
	}
	return nil
}
