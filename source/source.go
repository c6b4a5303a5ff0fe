// Package source is the PostgreSQL source: what check, discover and read do, made of the packages below it.
package source

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/config"
	"source-postgres/source/plan"
	"source-postgres/source/postgres"
	"source-postgres/source/scan"
	"source-postgres/source/state"
)

// Source is the connector. It keeps nothing between calls.
type Source struct{}

// open reads the settings, connects and begins a transaction; done ends all of it.
func open(ctx context.Context, text []byte) (*config.Config, *scan.Session, func(), error) {
	c, err := config.Parse(text)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, name := range c.Ignored {
		slog.Info("setting is not used", "setting", name)
	}
	for _, warning := range c.Warnings {
		slog.Warn(warning)
	}
	server, err := postgres.Open(ctx, c)
	if err != nil {
		return nil, nil, nil, err
	}
	session, err := scan.Open(ctx, server)
	if err != nil {
		server.Close()
		return nil, nil, nil, err
	}
	return c, session, func() {
		postgres.Close(session.Conn)
		server.Close()
	}, nil
}

// Discover lists the tables that the user may read.
func (Source) Discover(ctx context.Context, text []byte) (*protocol.Catalog, error) {
	c, session, done, err := open(ctx, text)
	if err != nil {
		return nil, err
	}
	defer done()
	db, err := tables(ctx, session, catalog.Filter{
		Schemas: c.Schemas, Unreadable: !c.CheckPrivileges, Publication: c.CDC.Publication,
	})
	if err != nil {
		return nil, err
	}
	found := &protocol.Catalog{Streams: make([]protocol.Stream, 0, len(db.Tables))}
	for _, t := range db.Tables {
		found.Streams = append(found.Streams, t.Stream(offer(c.Method)))
	}
	return found, nil
}

func offer(m config.Method) catalog.Offer {
	switch m {
	case config.MethodCDC:
		return catalog.OfferLog
	case config.MethodXmin:
		return catalog.OfferXmin
	}
	return catalog.OfferCursor
}

// Read reads the streams of want.
func (Source) Read(
	ctx context.Context, text []byte, want *protocol.ConfiguredCatalog, states []protocol.State, w *protocol.Writer,
) error {
	now := time.Now()
	c, session, done, err := open(ctx, text)
	if err != nil {
		return err
	}
	defer done()
	from, err := state.Parse(states, c.Method == config.MethodCDC, c.Database)
	if err != nil {
		return err
	}
	db, err := load(ctx, session, c, want)
	if err != nil {
		return err
	}
	p := plan.Build(c, db, want, from, now)
	for _, note := range p.Notes {
		slog.Info(note)
	}
	for _, warning := range p.Warnings {
		slog.Warn(warning)
	}
	warn(p)
	var errs []error
	for _, broken := range p.Broken {
		errs = append(errs, broken, w.Status(*broken.Stream, protocol.Started), w.Status(*broken.Stream, protocol.Incomplete))
	}
	if c.Method == config.MethodCDC {
		errs = append(errs, follow(ctx, c, session, p, from, now, w))
	} else {
		errs = append(errs, scan.Run(ctx, session, p.Streams, scan.Options{
			Workers: workers(c), Interval: c.CheckpointInterval, Ledger: state.NewLedger(nil, nil),
		}, w))
	}
	return errors.Join(errs...)
}

// tables loads the tables of the filter. One that is dropped at that moment may have been replaced by another one of
// its name, as by jobs that build tables anew and swap them: a new snapshot has that one.
func tables(ctx context.Context, session *scan.Session, filter catalog.Filter) (*catalog.Database, error) {
	const snapshots = 10
	for i := 1; ; i++ {
		db, err := catalog.Load(ctx, session.Conn, filter)
		if err != nil || !db.Outdated || i == snapshots {
			return db, err
		}
		if err := session.Begin(ctx, ""); err != nil {
			return nil, err
		}
	}
}

// load reads what is to be known of the tables of want.
func load(
	ctx context.Context, session *scan.Session, c *config.Config, want *protocol.ConfiguredCatalog,
) (*catalog.Database, error) {
	filter := catalog.Filter{Streams: []protocol.StreamDescriptor{}, Publication: c.CDC.Publication}
	for i := range want.Streams {
		d := want.Streams[i].Stream.Descriptor()
		if d.Namespace != "" || len(c.Schemas) == 0 {
			filter.Streams = append(filter.Streams, d)
			continue
		}
		for _, schema := range c.Schemas { // a stream without a schema is looked for in the configured ones
			filter.Streams = append(filter.Streams, protocol.StreamDescriptor{Name: d.Name, Namespace: schema})
		}
	}
	db, err := tables(ctx, session, filter)
	switch {
	case err != nil:
		return nil, err
	case db.Outdated:
		return nil, &protocol.Error{
			Kind: protocol.Transient, Message: "Tables of the configured streams are dropped or replaced faster than they " +
				"can be looked up.",
			Hint: "Run the job that builds them anew between two syncs.",
		}
	}
	db.System = session.System
	return db, catalog.LoadStorage(ctx, session.Conn, db.Tables)
}

// warn tells of tables that are not read whole.
func warn(p *plan.Plan) {
	var hidden []string
	for _, s := range p.Streams {
		if s.Table.Filtered {
			hidden = append(hidden, s.Descriptor.String())
		}
	}
	if len(hidden) > 0 {
		slices.Sort(hidden)
		slog.Warn("row-level security is on: only the rows that its policies show to this user are read",
			"tables", strings.Join(hidden, ", "))
	}
}

// workers is how many connections read side by side: what the user set, else one for each core, up to four. The
// server does more than half of the work, so that more of them mostly take its cores from others.
func workers(c *config.Config) int {
	if c.MaxConnections > 0 {
		return c.MaxConnections
	}
	return min(runtime.GOMAXPROCS(0), 4)
}
