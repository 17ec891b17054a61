package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

// machine says what was measured on, and how busy it was with other things.
func (b *bench) machine() map[string]string {
	machine := map[string]string{"cpu": fmt.Sprintf("%d cores", runtime.NumCPU())}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				machine["cpu"] += " (" + strings.TrimSpace(value) + ")"
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if total, err := kilobytes(string(text), "MemTotal:"); err == nil {
			machine["memory"] = fmt.Sprintf("%.0f GiB", total/(1<<30))
		}
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		machine["load"], _, _ = strings.Cut(string(text), " ")
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		machine["kernel"] = "Linux " + string(bytes.TrimSpace(text))
	}
	machine["fileSystem"] = fileSystem(b.run)
	return machine
}

// fileSystem names the kind of file system that a folder lies on.
func fileSystem(folder string) string {
	var stat syscall.Statfs_t
	if syscall.Statfs(folder, &stat) != nil {
		return "?"
	}
	names := map[int64]string{0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x794C7630: "overlay", 0x01021994: "tmpfs", 0x2FC12FC1: "zfs"}
	if name := names[int64(stat.Type)]; name != "" {
		return name
	}
	return fmt.Sprintf("file system %#x", stat.Type)
}

func (b *bench) readVersions() map[string]string {
	versions := map[string]string{"go": strings.TrimPrefix(runtime.Version(), "go")}
	ask := func(name string, cut string, program string, args ...string) {
		if out, err := exec.Command(program, args...).Output(); err == nil {
			versions[name] = strings.TrimPrefix(firstLine(out), cut)
		}
	}
	ask("tenantry", "", "git", "-C", b.top, "describe", "--always", "--dirty")
	ask("kubernetes", "Kubernetes v", b.program("kube-apiserver"), "--version")
	ask("etcd", "etcd Version: ", b.program("etcd"), "--version")
	ask("rust", "rustc ", "rustc", "--version")
	versions["rust"], _, _ = strings.Cut(versions["rust"], " ")
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "k8s.io/client-go" {
				versions["client-go"] = strings.TrimPrefix(module.Version, "v")
			}
		}
	}
	return versions
}
