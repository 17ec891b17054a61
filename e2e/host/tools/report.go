package main

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strings"
)

type junit struct {
	Suites []struct {
		Cases []testCase `xml:"testcase"`
	} `xml:"testsuite"`
}

type testCase struct {
	Name    string   `xml:"name,attr"`
	Status  string   `xml:"status,attr"`
	Time    float64  `xml:"time,attr"`
	Failure *problem `xml:"failure"`
	Error   *problem `xml:"error"`
	Skipped *problem `xml:"skipped"`
}

type problem struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// spec is one conformance spec of the tier and how it went.
type spec struct {
	name, sig, outcome, why string
}

// report writes what a run of the conformance suite showed. A spec of the tier that the run lacks counts as not run, never as passed.
func report(args []string) error {
	flags := flag.NewFlagSet("report", flag.ExitOnError)
	source := flags.String("junit", "", "JUnit report of the run")
	tiers := flags.String("tiers", "", "table of tiers: tier, sig, file, name; tab separated")
	tier := flags.String("tier", "", "tier that was run")
	heading := flags.String("heading", "", "one line that says what was run against what")
	section := flags.String("section", "", "name of the section that the run replaces")
	out := flags.String("out", "", "Markdown file to write the section into")
	_ = flags.Parse(args)

	data, err := os.ReadFile(*source)
	if err != nil {
		return err
	}
	var run junit
	if err := xml.Unmarshal(data, &run); err != nil {
		return fmt.Errorf("%s: %w", *source, err)
	}
	specs, err := tierSpecs(*tiers, *tier)
	if err != nil {
		return err
	}
	judge(specs, run)

	counts := map[string]int{}
	for _, s := range specs {
		counts[s.outcome]++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "## %s: %d of %d passed\n\n%s\n\n", *section, counts["passed"], len(specs), *heading)
	fmt.Fprintf(&b, "Passed %d, failed %d, skipped %d, not run %d.\n", counts["passed"], counts["failed"], counts["skipped"], counts["not run"])
	for _, outcome := range []string{"failed", "skipped", "not run", "passed"} {
		if counts[outcome] == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n", strings.ToUpper(outcome[:1])+outcome[1:])
		for _, s := range specs {
			if s.outcome != outcome {
				continue
			}
			fmt.Fprintf(&b, "- %s", s.name)
			if s.why != "" {
				fmt.Fprintf(&b, "\n  `%s`", s.why)
			}
			b.WriteString("\n")
		}
	}
	fmt.Printf("tier %s: %d passed, %d failed, %d skipped, %d not run of %d\n", *tier, counts["passed"], counts["failed"], counts["skipped"], counts["not run"], len(specs))
	return replaceSection(*out, *section, b.String())
}

const preface = `# Conformance

What the Kubernetes conformance suite says, tier by tier, of a virtual cluster (tenant) and of the host cluster below it. Written by
` + "`make conformance TIER=A TARGET=tenant`" + `, never by hand; the tiers are those of e2e/conformance/tiers.tsv.
`

// replaceSection puts a section where an earlier run of the same name stood, or at the end.
func replaceSection(file, name, text string) error {
	begin, end := fmt.Sprintf("<!-- begin %s -->\n", name), fmt.Sprintf("<!-- end %s -->\n", name)
	old, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = []byte(preface), nil
	}
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), begin)
	after := ""
	if found {
		if _, after, found = strings.Cut(rest, end); !found {
			return fmt.Errorf("%s: section %q has no end", file, name)
		}
	} else {
		before += "\n"
	}
	return os.WriteFile(file, []byte(before+begin+text+end+after), 0o644)
}

func tierSpecs(file, tier string) ([]*spec, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var specs []*spec
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.Split(line, "\t")
		if len(fields) == 4 && fields[0] == tier {
			specs = append(specs, &spec{name: fields[3], sig: fields[1], outcome: "not run"})
		}
	}
	if len(specs) == 0 {
		return nil, fmt.Errorf("%s has no tier %q", file, tier)
	}
	sort.Slice(specs, func(i, j int) bool { return specs[i].name < specs[j].name })
	return specs, nil
}

// judge matches by containment: the report wraps a spec's name in "[It] ... [labels]".
func judge(specs []*spec, run junit) {
	for _, suite := range run.Suites {
		for _, c := range suite.Cases {
			if !strings.HasPrefix(c.Name, "[It] ") {
				continue
			}
			for _, s := range specs {
				if !strings.Contains(c.Name, s.name) {
					continue
				}
				switch {
				case c.Failure != nil:
					s.outcome, s.why = "failed", firstLine(c.Failure)
				case c.Error != nil:
					s.outcome, s.why = "failed", firstLine(c.Error)
				case c.Status == "passed":
					s.outcome = "passed"
				case c.Skipped != nil && strings.Contains(c.Skipped.Message, "skipped - "):
					// A spec that the focus leaves out is reported as skipped too, with no reason of its own.
					s.outcome, s.why = "skipped", firstLine(c.Skipped)
				}
			}
		}
	}
}

func firstLine(p *problem) string {
	for _, text := range []string{p.Message, p.Text} {
		for _, line := range strings.Split(text, "\n") {
			line = strings.ReplaceAll(strings.TrimSpace(line), "`", "'")
			if line != "" {
				if len(line) > 300 {
					line = line[:300] + " ..."
				}
				return line
			}
		}
	}
	return "no message"
}
