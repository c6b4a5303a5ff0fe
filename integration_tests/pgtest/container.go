package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
)

// errNoEngine says that no container engine answers.
var errNoEngine = errors.New("no container engine answers")

// quiet drops what testcontainers reports of its progress.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

var _ log.Logger = quiet{}

// lifetime, in seconds, is when a container ends whose test process was killed before it could stop it. Testcontainers
// has another container (the reaper) for that, whose image would have to be pulled even where PostgreSQL's is there.
const lifetime = "3600"

// startContainer starts a server in a container. An image that the engine does not have is pulled only if pull is
// positive, and for no longer than that.
func startContainer(ctx context.Context, pull time.Duration) (*Server, error) {
	image := os.Getenv("PGTEST_IMAGE")
	if image == "" {
		image = "postgres:17"
	}
	log.SetDefault(quiet{})
	if err := provide(ctx, image, pull); err != nil {
		return nil, err
	}
	password := random(16)
	command := []string{"postgres"}
	for _, setting := range settings {
		command = append(command, "-c", setting)
	}
	c, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{
			Image:        image,
			Entrypoint:   []string{"timeout", "-s", "INT", lifetime, "docker-entrypoint.sh"},
			Cmd:          command,
			ExposedPorts: []string{"5432/tcp"},
			Env: map[string]string{
				"POSTGRES_PASSWORD":    password,
				"POSTGRES_INITDB_ARGS": "--auth-host=scram-sha-256 --no-locale --encoding=UTF8 --no-sync",
			},
		},
		Started: true,
	})
	stop := func() error { return testcontainers.TerminateContainer(c) }
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a container of %s: %w", image, err), stop())
	}
	s := &Server{User: "postgres", Password: password, Via: "docker " + image, stop: stop}
	if err := s.locate(ctx, c); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// locate waits until the server in container c takes connections. The image's first start listens on no TCP port until
// the cluster is made, so a connection means that it is ready.
func (s *Server) locate(ctx context.Context, c testcontainers.Container) error {
	host, err := c.Host(ctx)
	if err != nil {
		return fmt.Errorf("find the container's host: %w", err)
	}
	port, err := c.MappedPort(ctx, "5432/tcp")
	if err != nil {
		return fmt.Errorf("find the container's port: %w", err)
	}
	s.Host, s.Port = host, int(port.Num())
	if ip, err := c.ContainerIP(ctx); err == nil && ip != "" {
		s.Inside = net.JoinHostPort(ip, "5432")
	}
	conn, err := s.awaitReady(ctx, nil)
	if err != nil {
		return fmt.Errorf("start a container of %s: %w", s.Via, err)
	}
	return conn.Close(ctx)
}

// provide makes sure that the engine answers and has the image.
func provide(ctx context.Context, image string, pull time.Duration) error {
	// Testcontainers reads its settings once, at the first call.
	const reaper = "TESTCONTAINERS_RYUK_DISABLED"
	if _, set := os.LookupEnv(reaper); !set {
		if err := os.Setenv(reaper, "true"); err != nil {
			return fmt.Errorf("turn the reaper off: %w", err)
		}
	}
	provider, err := testcontainers.NewDockerProvider(testcontainers.WithLogger(quiet{}))
	if err != nil {
		return fmt.Errorf("%w: %w", errNoEngine, err)
	}
	defer func() { _ = provider.Close() }() // an idle HTTP client
	health, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := provider.Health(health); err != nil {
		return fmt.Errorf("%w: %w", errNoEngine, err)
	}
	if _, err := provider.Client().ImageInspect(ctx, image); err == nil {
		return nil
	}
	if pull == 0 {
		return fmt.Errorf("the container engine has no image %s", image)
	}
	ctx, stop := context.WithTimeout(ctx, pull)
	defer stop()
	if err := provider.PullImage(ctx, image); err != nil {
		return fmt.Errorf("pull %s: %w", image, err)
	}
	return nil
}
