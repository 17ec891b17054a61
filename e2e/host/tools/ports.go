package main

import (
	"flag"
	"fmt"
	"net"
)

// ports prints the first of --count consecutive free ports at or above --base. With --exact it only tries --base, and names the used one.
func ports(args []string) error {
	flags := flag.NewFlagSet("ports", flag.ExitOnError)
	base := flags.Int("base", 21000, "first port")
	count := flags.Int("count", 1, "how many consecutive ports")
	exact := flags.Bool("exact", false, "fail if a port from base on is used")
	_ = flags.Parse(args)
	for first := *base; first+*count < 65536; first += *count {
		used := firstUsed(first, *count)
		if used == 0 {
			fmt.Println(first)
			return nil
		}
		if *exact {
			return fmt.Errorf("port %d on 127.0.0.1 is in use", used)
		}
	}
	return fmt.Errorf("no %d free consecutive ports from %d on", *count, *base)
}

func firstUsed(first, count int) int {
	for port := first; port < first+count; port++ {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return port
		}
		_ = listener.Close()
	}
	return 0
}
