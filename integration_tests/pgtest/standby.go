package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Standby makes a hot standby of a server that Private started, with more lines of postgresql.conf. It is a copy of the
// server's files, for which that is restarted, and follows it from then on. The caller stops it, before the server.
func (s *Server) Standby(ctx context.Context, lines ...string) (*Server, error) {
	if s.local == nil {
		return nil, errNotOurs
	}
	l, err := newLocal(s.local.bin, s.local.account)
	if err != nil {
		return nil, err
	}
	follower := &Server{Host: s.Host, User: s.User, Password: s.Password, Via: s.Via, local: l, stop: l.remove}
	err = s.Halt(ctx, "fast")
	if err == nil {
		err = l.copyFrom(ctx, s.local)
		err = errors.Join(err, s.Resume(ctx))
	}
	data := filepath.Join(l.dir, "data")
	if err == nil {
		lines = append(lines, fmt.Sprintf("primary_conninfo='host=%s port=%d user=%s password=%s'", s.Host, s.Port, s.User,
			s.Password))
		err = appendFile(filepath.Join(data, "postgresql.conf"), strings.Join(lines, "\n")+"\n")
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644)
	}
	if err == nil {
		err = follower.begin(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a standby: %w", err), follower.Stop())
	}
	return follower, nil
}

// copyFrom copies the files of a server that is not running.
func (l *local) copyFrom(ctx context.Context, other *local) error {
	out, err := l.command(ctx, "cp", "-Rp", filepath.Join(other.dir, "data"), l.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy the server's files: %w: %s", err, out)
	}
	return nil
}
