// Form shows spec.json as a form in a headless browser and fills it in, against a PostgreSQL server of its own. It
// needs Node.js with npm and Chromium; as root on Debian it installs what is missing. With -picture it also makes the
// picture in docs/images.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"source-postgres/integration_tests/pgtest"
)

// dir keeps the packages of npm from one run to the next. Its name keeps Go from looking for packages in it.
const dir = ".cache/form"

const sources = "integration_tests/form"

func main() {
	picture := flag.Bool("picture", false, "make docs/images/form.png anew")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, *picture)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "form:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, picture bool) (err error) {
	if err := need(ctx, "npm", "nodejs", "npm"); err != nil {
		return err
	}
	if err := need(ctx, "chromium", "chromium"); err != nil {
		return err
	}
	work, err := prepare(ctx)
	if err != nil {
		return err
	}
	server, err := pgtest.Start(ctx)
	if err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	db, err := server.NewDatabase(ctx, "form")
	if err != nil {
		return fmt.Errorf("make a database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Drop(context.Background())) }()
	return fill(ctx, work, db, picture)
}

// need installs Debian packages unless the command is there.
func need(ctx context.Context, command string, packages ...string) error {
	if _, err := exec.LookPath(command); err == nil {
		return nil
	}
	if os.Getuid() != 0 {
		return fmt.Errorf("%s is missing; on Debian: apt-get install %v", command, packages)
	}
	script := "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \"$@\""
	install := exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh"}, packages...)...)
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("install %v: %w: %s", packages, err, out)
	}
	return nil
}

// prepare builds the connector and lays out the page with its packages. It gives the absolute path of dir.
func prepare(ctx context.Context) (string, error) {
	work, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the directory: %w", err)
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", fmt.Errorf("make a directory: %w", err)
	}
	for _, name := range []string{"package.json", "package-lock.json", "form.jsx", "form.mjs", "page.html"} {
		text, err := os.ReadFile(filepath.Join(sources, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(work, name), text, 0o600)
		}
		if err != nil {
			return "", fmt.Errorf("copy %s: %w", name, err)
		}
	}
	if err := command(ctx, work, "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"); err != nil {
		return "", err
	}
	return work, command(ctx, ".", "go", "build", "-o", filepath.Join(work, "source-postgres"), ".")
}

// fill lets the browser do its part, with a slot and a publication that it can enter.
func fill(ctx context.Context, work string, db *pgtest.Database, picture bool) error {
	slot := "form_" + fmt.Sprint(os.Getpid())
	sql := "CREATE TABLE t (id int PRIMARY KEY, at timestamptz); CREATE PUBLICATION airbyte_publication FOR TABLE t"
	if err := db.Exec(ctx, sql); err != nil {
		return fmt.Errorf("make a table: %w", err)
	}
	if err := db.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", slot); err != nil {
		return fmt.Errorf("make a slot: %w", err)
	}
	browser, err := exec.LookPath("chromium")
	if err != nil {
		return fmt.Errorf("find the browser: %w", err)
	}
	root, err := filepath.Abs(".")
	if err != nil {
		return fmt.Errorf("find the directory: %w", err)
	}
	use := map[string]any{
		"spec": filepath.Join(root, "spec.json"), "connector": filepath.Join(work, "source-postgres"), "browser": browser,
		"dir": work,
		"connection": map[string]any{
			"host": db.Host, "port": db.Port, "database": db.Name, "username": db.User, "password": db.Password,
			"slot": slot, "publication": "airbyte_publication",
		},
	}
	if picture {
		use["picture"] = filepath.Join(work, "form.png")
	}
	text, err := json.Marshal(use)
	if err != nil {
		return fmt.Errorf("write what to use: %w", err)
	}
	file := filepath.Join(work, "use.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("write what to use: %w", err)
	}
	if err := command(ctx, work, "node", "form.mjs", file); err != nil || !picture {
		return err
	}
	return reduce(filepath.Join(work, "form.png"), filepath.Join(root, "docs", "images", "form.png"))
}

// reduce writes a picture with fewer colours, which makes it a third of the size.
func reduce(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read the picture: %w", err)
	}
	full, err := png.Decode(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("read the picture: %w", err)
	}
	colours := color.Palette{color.RGBA{R: 0xb3, G: 0x26, B: 0x1e, A: 0xff}}
	for grey := range 13 {
		v := uint8(grey * 255 / 12)
		colours = append(colours, color.RGBA{R: v, G: v, B: v, A: 0xff})
	}
	small := image.NewPaletted(full.Bounds(), colours)
	draw.Draw(small, full.Bounds(), full, image.Point{}, draw.Src)
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, small); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	if err := os.WriteFile(to, out.Bytes(), 0o644); err != nil { //nolint:gosec // a picture of the documentation
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	return nil
}
