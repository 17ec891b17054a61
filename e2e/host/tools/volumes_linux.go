package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

func init() {
	commands["volumes"] = command{volumes, "open each new folder of --dir to all users, as it is made"}
}

// volumes opens the volumes of the controller manager's host path provisioner, which makes folders that only root may enter, to whoever
// a pod runs as. It runs until it is killed.
func volumes(args []string) error {
	flags := flag.NewFlagSet("volumes", flag.ExitOnError)
	dir := flags.String("dir", "/tmp/hostpath_pv", "folder of the volumes")
	_ = flags.Parse(args)
	watch, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err != nil {
		return err
	}
	if _, err := syscall.InotifyAddWatch(watch, *dir, syscall.IN_CREATE|syscall.IN_ONLYDIR); err != nil {
		return err
	}
	buffer := make([]byte, 64*1024)
	for {
		n, err := syscall.Read(watch, buffer)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		for at := 0; at+syscall.SizeofInotifyEvent <= n; {
			event := (*syscall.InotifyEvent)(unsafe.Pointer(&buffer[at]))
			at += syscall.SizeofInotifyEvent
			name := string(bytes.TrimRight(buffer[at:at+int(event.Len)], "\x00"))
			at += int(event.Len)
			if event.Mask&syscall.IN_ISDIR == 0 {
				continue
			}
			// It may be gone again already.
			if err := os.Chmod(filepath.Join(*dir, name), 0o777); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
	}
}
