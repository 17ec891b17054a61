package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
)

type imageSpec struct {
	refs, files, links, env, entrypoint, cmd []string
	root, user, workdir                      string
}

// image writes one archive that is both an OCI image layout (containerd reads its index.json) and a docker archive (docker load reads
// its manifest.json). The same inputs give the same bytes.
func image(args []string) error {
	var spec imageSpec
	flags := flag.NewFlagSet("image", flag.ExitOnError)
	out := flags.String("out", "", "archive to write")
	list := func(name, use string, to *[]string) {
		flags.Func(name, use+" (may be given several times)", func(value string) error { *to = append(*to, value); return nil })
	}
	list("ref", "full image name with tag", &spec.refs)
	list("file", "PATH=SOURCE: a file, with the shared libraries that it needs", &spec.files)
	list("link", "PATH=TARGET: a symbolic link", &spec.links)
	list("env", "NAME=VALUE", &spec.env)
	list("entrypoint", "one word of the entry point", &spec.entrypoint)
	list("cmd", "one word of the default arguments", &spec.cmd)
	flags.StringVar(&spec.root, "root", "", "folder whose content lies under the files")
	flags.StringVar(&spec.user, "user", "", "uid:gid to run as")
	flags.StringVar(&spec.workdir, "workdir", "", "working directory")
	_ = flags.Parse(args)
	if *out == "" || len(spec.refs) == 0 {
		return fmt.Errorf("--out and --ref are needed")
	}
	layer, err := spec.layer()
	if err != nil {
		return err
	}
	archive, err := spec.archive(layer)
	if err != nil {
		return err
	}
	if err := os.WriteFile(*out+".tmp", archive, 0o644); err != nil {
		return err
	}
	return os.Rename(*out+".tmp", *out)
}

// layer is the image's only layer: the root folder, then standard folders, files with their libraries, links.
func (s *imageSpec) layer() ([]byte, error) {
	tree := &tree{entries: map[string]entry{}}
	if s.root != "" {
		if err := tree.addFolder(s.root); err != nil {
			return nil, err
		}
	}
	tree.put("tmp", entry{kind: tar.TypeDir, mode: 0o1777})
	if _, ok := tree.entries["etc/passwd"]; !ok {
		tree.put("etc/passwd", entry{data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\nnonroot:x:65532:65532:nonroot:/:/bin/sh\n"), mode: 0o644})
		tree.put("etc/group", entry{data: []byte("root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n"), mode: 0o644})
	}
	for _, file := range s.files {
		to, from, ok := strings.Cut(file, "=")
		if !ok {
			return nil, fmt.Errorf("--file %q: want PATH=SOURCE", file)
		}
		if err := tree.addFile(to, from); err != nil {
			return nil, err
		}
	}
	for _, link := range s.links {
		name, target, ok := strings.Cut(link, "=")
		if !ok {
			return nil, fmt.Errorf("--link %q: want PATH=TARGET", link)
		}
		tree.put(name, entry{kind: tar.TypeSymlink, target: target, mode: 0o777})
	}
	return tree.tar()
}

func (s *imageSpec) archive(layer []byte) ([]byte, error) {
	blobs := &tree{entries: map[string]entry{}}
	blob := func(data []byte) string {
		digest := sum(data)
		blobs.put("blobs/sha256/"+digest, entry{data: data, mode: 0o644})
		return digest
	}
	type object = map[string]any
	env := append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"}, s.env...)
	layerSum := blob(layer)
	config, err := json.Marshal(object{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": object{"Entrypoint": s.entrypoint, "Cmd": s.cmd, "Env": env, "User": s.user, "WorkingDir": s.workdir},
		"rootfs": object{"type": "layers", "diff_ids": []string{"sha256:" + layerSum}},
	})
	if err != nil {
		return nil, err
	}
	configSum := blob(config)
	manifest, err := json.Marshal(object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": object{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + configSum, "size": len(config)},
		"layers": []object{{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:" + layerSum, "size": len(layer)}},
	})
	if err != nil {
		return nil, err
	}
	manifestSum := blob(manifest)
	var named []object
	for _, ref := range s.refs {
		named = append(named, object{
			"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + manifestSum, "size": len(manifest),
			"annotations": object{"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": ref[strings.LastIndex(ref, ":")+1:]},
			"platform":    object{"architecture": runtime.GOARCH, "os": "linux"},
		})
	}
	index, err := json.Marshal(object{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": named})
	if err != nil {
		return nil, err
	}
	docker, err := json.Marshal([]object{{"Config": "blobs/sha256/" + configSum, "RepoTags": s.refs, "Layers": []string{"blobs/sha256/" + layerSum}}})
	if err != nil {
		return nil, err
	}
	blobs.put("oci-layout", entry{data: []byte(`{"imageLayoutVersion":"1.0.0"}`), mode: 0o644})
	blobs.put("index.json", entry{data: index, mode: 0o644})
	blobs.put("manifest.json", entry{data: docker, mode: 0o644})
	return blobs.tar()
}

func sum(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

type entry struct {
	kind   byte
	mode   int64
	data   []byte
	target string
}

type tree struct{ entries map[string]entry }

func (t *tree) put(name string, e entry) {
	name = strings.Trim(path.Clean("/"+name), "/")
	if e.kind == 0 {
		e.kind = tar.TypeReg
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := t.entries[dir]; !ok {
			t.entries[dir] = entry{kind: tar.TypeDir, mode: 0o755}
		}
	}
	t.entries[name] = e
}

func (t *tree) addFile(to, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	t.put(to, entry{data: data, mode: int64(info.Mode().Perm())})
	libraries, err := sharedLibraries(from)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	for _, library := range libraries {
		if _, ok := t.entries[strings.TrimPrefix(library, "/")]; ok {
			continue
		}
		content, err := os.ReadFile(library)
		if err != nil {
			return err
		}
		t.put(library, entry{data: content, mode: 0o755})
	}
	return nil
}

// addFolder takes a root file system without what only its package manager needs. Devices are the runtime's business.
func (t *tree) addFolder(root string) error {
	skip := map[string]bool{"proc": true, "sys": true, "dev": true, "run": true, "var/cache": true, "var/lib/apt": true, "usr/share/doc": true, "usr/share/man": true, "usr/share/locale": true}
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(root, name)
		if err != nil || inside == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := int64(info.Mode().Perm())
		switch {
		case d.IsDir():
			t.put(inside, entry{kind: tar.TypeDir, mode: mode})
			if skip[inside] {
				return filepath.SkipDir
			}
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			t.put(inside, entry{kind: tar.TypeSymlink, target: target, mode: 0o777})
		case info.Mode().IsRegular():
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			t.put(inside, entry{data: data, mode: mode})
		}
		return nil
	})
}

// tar writes the entries in the order of their names, with no owner and no time, so that equal content gives equal bytes.
func (t *tree) tar() ([]byte, error) {
	names := make([]string, 0, len(t.entries))
	for name := range t.entries {
		names = append(names, name)
	}
	sort.Strings(names)
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, name := range names {
		e := t.entries[name]
		if e.kind == tar.TypeDir {
			name += "/"
		}
		header := &tar.Header{Name: name, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.data)), Linkname: e.target, Format: tar.FormatPAX}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// sharedLibraries lists the files that the dynamic linker would load for a program, the linker first; none for a static program and for
// a file that is no program. Paths are those by which the linker finds them.
func sharedLibraries(program string) ([]string, error) {
	binary, err := elf.Open(program)
	if err != nil {
		var format *elf.FormatError
		if errors.As(err, &format) || errors.Is(err, fs.ErrInvalid) || strings.Contains(err.Error(), "EOF") {
			return nil, nil
		}
		return nil, err
	}
	defer binary.Close()
	var found []string
	for _, segment := range binary.Progs {
		if segment.Type == elf.PT_INTERP {
			name := make([]byte, segment.Filesz)
			if _, err := segment.ReadAt(name, 0); err != nil {
				return nil, err
			}
			found = append(found, strings.TrimRight(string(name), "\x00"))
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	seen := map[string]bool{path.Base(found[0]): true}
	wanted, err := binary.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for len(wanted) > 0 {
		name := wanted[0]
		wanted = wanted[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		file, more, err := findLibrary(name, binary.Machine)
		if err != nil {
			return nil, err
		}
		found = append(found, file)
		wanted = append(wanted, more...)
	}
	return found, nil
}

func findLibrary(name string, machine elf.Machine) (file string, wanted []string, err error) {
	triplet := map[elf.Machine]string{elf.EM_X86_64: "x86_64-linux-gnu", elf.EM_AARCH64: "aarch64-linux-gnu"}[machine]
	for _, dir := range []string{"/lib/" + triplet, "/usr/lib/" + triplet, "/lib64", "/usr/lib64", "/lib", "/usr/lib"} {
		file = filepath.Join(dir, name)
		library, err := elf.Open(file)
		if err != nil {
			continue
		}
		defer library.Close()
		if library.Machine != machine {
			continue
		}
		wanted, err = library.ImportedLibraries()
		return file, wanted, err
	}
	return "", nil, fmt.Errorf("shared library %s (machine %s) not found", strconv.Quote(name), machine)
}
