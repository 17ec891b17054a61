package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that this program started and stops.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// processes are all that were started, in that order.
type processes struct {
	folder string
	all    []*process
}

// start runs a program with its output in a file; it dies with this program whatever happens to that.
func (ps *processes) start(name, path string, args ...string) (*process, error) {
	cmd := exec.Command(path, args...)
	return ps.run(name, cmd)
}

func (ps *processes) run(name string, cmd *exec.Cmd) (*process, error) {
	log := filepath.Join(ps.folder, name+".log")
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if cmd.Stdout == nil {
		cmd.Stdout = file
	}
	cmd.Stderr = file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	ps.all = append(ps.all, p)
	return p, nil
}

// stopAll ends what still runs, the last one first.
func (ps *processes) stopAll() {
	for i := len(ps.all) - 1; i >= 0; i-- {
		ps.all[i].stop()
	}
	ps.all = nil
}

// stop asks the process to end, and kills it after ten seconds.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.kill()
	}
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// failure says that the process has ended, with the end of its log; nil while it runs.
func (p *process) failure() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	text, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Errorf("%s stopped (%s); the end of %s:\n%s", p.name, p.cmd.ProcessState, p.log, strings.Join(lines[max(0, len(lines)-10):], "\n"))
}

// cpu is the processor time that the process has used, in seconds.
func (p *process) cpu() (float64, error) {
	stat, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		return 0, err
	}
	// The name in brackets may hold anything; the fields behind it do not.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat is cut off")
	}
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	return (user + system) / clockTicks, errors.Join(err1, err2)
}

// Linux counts processor time for user space in hundredths of a second on every architecture that it runs on today.
const clockTicks = 100

// writes is how often the process has written, to files and sockets.
func (p *process) writes() (float64, error) {
	counts, err := os.ReadFile(p.proc("io"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(counts)) {
		if rest, ok := strings.CutPrefix(line, "syscw:"); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, errors.New("/proc/PID/io does not count writes")
}

// memory is resident memory in bytes: now, and at its highest.
func (p *process) memory() (now, peak float64, err error) {
	status, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return 0, 0, err
	}
	now, err1 := kilobytes(string(status), "VmRSS:")
	peak, err2 := kilobytes(string(status), "VmHWM:")
	return now, peak, errors.Join(err1, err2)
}

func (p *process) proc(name string) string {
	return fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name)
}

// kilobytes finds a line such as "VmRSS:  1234 kB" and gives it in bytes.
func kilobytes(text, field string) (float64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return n * 1024, err
		}
	}
	return 0, fmt.Errorf("no %s", field)
}

// ownCPU is the processor time of this program, the client of all servers, in seconds.
func ownCPU() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// await tries every 20 ms until it succeeds, the time is over or one of the processes has ended.
func await(what string, limit time.Duration, ps []*process, try func() error) error {
	end := time.Now().Add(limit)
	for {
		err := try()
		if err == nil {
			return nil
		}
		for _, p := range ps {
			if failure := p.failure(); failure != nil {
				return failure
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %s: %w", what, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
