package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// figure is one line of the table: ours beside the stock server's.
type figure struct {
	What string `json:"what"`
	Unit string `json:"unit"`
	// Not there when that side has no such figure.
	Ours  *float64 `json:"ours,omitempty"`
	Stock *float64 `json:"stock,omitempty"`
	// What this machine would allow, where that was measured.
	Limit *float64 `json:"limit,omitempty"`
	// How many times better ours is: above 1 is better, whichever way the figure goes.
	Ratio  *float64 `json:"ratio,omitempty"`
	Wanted string   `json:"wanted,omitempty"`
}

// result is what a part measured.
type result struct {
	Part     string            `json:"part"`
	Date     string            `json:"date"`
	Machine  map[string]string `json:"machine"`
	Versions map[string]string `json:"versions"`
	Settings map[string]any    `json:"settings"`
	Seconds  float64           `json:"seconds"`
	Figures  []*figure         `json:"figures"`
	// What must be known to read the figures.
	Notes []string `json:"notes"`
}

// less adds a figure of which less is better, more one of which more is; NaN for a side that has none.
func (r *result) less(what, unit string, ours, stock float64) *figure {
	return r.add(what, unit, ours, stock, stock/ours)
}

func (r *result) more(what, unit string, ours, stock float64) *figure {
	return r.add(what, unit, ours, stock, ours/stock)
}

func (r *result) add(what, unit string, ours, stock, ratio float64) *figure {
	f := &figure{What: what, Unit: unit, Ours: known(ours), Stock: known(stock), Ratio: known(ratio)}
	r.Figures = append(r.Figures, f)
	return f
}

func (f *figure) wanted(text string) *figure {
	f.Wanted = text
	return f
}

func (f *figure) limit(value float64) *figure {
	f.Limit = known(value)
	return f
}

func (r *result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// none is the figure of a side that has none.
var none = math.NaN()

func known(value float64) *float64 {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return nil
	}
	return &value
}

// number writes three digits that count.
func number(value *float64) string {
	if value == nil {
		return ""
	}
	v := *value
	switch size := math.Abs(v); {
	case v == 0:
		return "0"
	case size >= 1000:
		return thousands(int64(math.Round(v)))
	case v == math.Trunc(v) || size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	case size >= 0.995:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.2g", v)
	}
}

func thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

var columns = []string{"times better", "wanted", "ours", "stock", "limit", "unit", "what"}

func (f *figure) cells() []string {
	ratio := number(f.Ratio)
	if ratio != "" {
		ratio += "x"
	}
	return []string{ratio, f.Wanted, number(f.Ours), number(f.Stock), number(f.Limit), f.Unit, f.What}
}

// table is for a terminal.
func (r *result) table() string {
	rows := [][]string{columns}
	for _, f := range r.Figures {
		rows = append(rows, f.cells())
	}
	widths := make([]int, len(columns))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			if i < 5 {
				fmt.Fprintf(&out, "%*s  ", widths[i], cell)
			} else {
				fmt.Fprintf(&out, "%-*s  ", widths[i], cell)
			}
		}
		out.WriteString("\n")
	}
	return out.String()
}

// markdown is the part's section of docs/performance.md.
func (r *result) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "`make bench ONLY=%s` of %s on %s, %s, %s, %s; load %s when it began, took %.0f s. Versions: %s. Sizes: %s.\n\n", r.Part, r.Date, r.Machine["cpu"],
		r.Machine["memory"], r.Machine["fileSystem"], r.Machine["kernel"], r.Machine["load"], r.Seconds, versionsText(r.Versions), settingsText(r.Settings))
	fmt.Fprintf(&out, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---:|", 5)+"---|---|")
	for _, f := range r.Figures {
		fmt.Fprintf(&out, "| %s |\n", strings.Join(f.cells(), " | "))
	}
	out.WriteString("\n")
	for _, note := range r.Notes {
		fmt.Fprintf(&out, "- %s\n", note)
	}
	return out.String()
}

func versionsText(versions map[string]string) string {
	var parts []string
	for _, name := range []string{"tenantry", "kubernetes", "etcd", "client-go", "rust", "go"} {
		if versions[name] != "" {
			parts = append(parts, name+" "+versions[name])
		}
	}
	return strings.Join(parts, ", ")
}

func settingsText(settings map[string]any) string {
	text, _ := json.Marshal(settings)
	return strings.NewReplacer(`"`, "", "{", "", "}", "", ":", " ", ",", ", ").Replace(string(text))
}

func (r *result) write(folder string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, r.Part+".json"), append(text, '\n'), 0o644)
}

// publish replaces the part's section of a page, which lies between two comments.
func (r *result) publish(page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	from, to := fmt.Sprintf("<!-- make bench ONLY=%s writes from here -->\n", r.Part), fmt.Sprintf("<!-- to here (%s) -->", r.Part)
	head, rest, ok := strings.Cut(string(text), from)
	_, tail, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no lines %q and %q", page, strings.TrimSpace(from), to)
	}
	return os.WriteFile(page, []byte(head+from+r.markdown()+to+tail), 0o644)
}

func newResult(b *bench, part string) *result {
	r := &result{Part: part, Date: time.Now().UTC().Format("2006-01-02"), Machine: b.machine(), Versions: b.versions, Settings: map[string]any{}}
	return r
}
