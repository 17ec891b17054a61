// Command hosttool does for the host cluster's scripts what a shell does badly: certificates, image archives, ports, reports.
package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
)

type command struct {
	run func(args []string) error
	use string
}

var commands = map[string]command{
	"pki":    {pki, "write the certificates and kubeconfigs of a host cluster"},
	"image":  {image, "write an OCI image archive (docker and containerd load it)"},
	"ports":  {ports, "find or check free TCP ports on the loopback address"},
	"report": {report, "turn a JUnit report of the conformance suite into Markdown"},
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	command, ok := commands[os.Args[1]]
	if !ok {
		usage()
	}
	if err := command.run(os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "hosttool %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: hosttool COMMAND [flags]   (hosttool COMMAND -h lists the flags)")
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		fmt.Fprintf(os.Stderr, "  %-8s %s\n", name, commands[name].use)
	}
	os.Exit(2)
}
