package state

import (
	"errors"
	"fmt"
	"math"
)

func (sh *shape) parseXmin(mark Mark) (Stream, error) {
	if sh.XminValue == nil {
		return nil, errors.New("it has no xmin_xid_value")
	}
	bound := *sh.XminValue
	if bound < 1<<32 && sh.Wraparounds != nil {
		bound |= *sh.Wraparounds << 32
	}
	if sh.XminRaw != nil && *sh.XminRaw > bound {
		bound = *sh.XminRaw
	}
	if bound > math.MaxInt64 {
		return nil, fmt.Errorf("its xmin %d is not the number of a transaction", bound)
	}
	return &Xmin{Mark: mark, Bound: bound}, nil
}

func (sh *shape) parseCtid(mark Mark) (Stream, error) {
	s := &Ctid{Mark: mark, Finished: sh.Finished, SyncID: sh.SyncID}
	if err := sh.parsePlace(s); err != nil {
		return nil, err
	}
	if s.Finished && !s.Done.Complete() {
		return nil, errors.New("it says that it is finished, but blocks are missing")
	}
	var err error
	if s.Then, err = sh.Then.stream(); err != nil {
		return nil, err
	}
	if s.Since, err = sh.Since.stream(); err != nil {
		return nil, err
	}
	for _, inner := range []Stream{s.Then, s.Since} {
		switch inner.(type) {
		case *Ctid, *Whole:
			return nil, errors.New("it holds a state that no pass over a table can begin or end with")
		}
	}
	moved, err := sh.Moved.stream()
	if err != nil {
		return nil, err
	}
	if cursor, ok := moved.(*Cursor); ok {
		s.Moved = cursor
	} else if moved != nil {
		return nil, errors.New("its moved_since is no cursor")
	}
	s.findMoved()
	return s, nil
}

// parsePlace reads how far the pass has come, and in which files.
func (sh *shape) parsePlace(s *Ctid) error {
	if sh.Filenode == nil {
		return errors.New("it has no relation_filenode")
	}
	s.Filenode = *sh.Filenode
	var block int64
	var tuple uint16
	_, err := fmt.Sscanf(sh.Ctid, "(%d,%d)", &block, &tuple)
	if err != nil || block < 0 || block >= End || sh.Ctid != fmt.Sprintf("(%d,%d)", block, tuple) {
		return fmt.Errorf("its ctid %q is not of the form (block,tuple)", sh.Ctid)
	}
	if tuple == lastTuple {
		block, tuple = block+1, 0 // the whole block has been read
	}
	s.Done = s.Done.Add(Range{0, block})
	for _, r := range sh.Ranges {
		if r[0] < 0 || r[1] < r[0] || r[1] > End {
			return fmt.Errorf("its range %v is not one of blocks", r)
		}
		s.Done = s.Done.Add(Range{r[0], r[1]})
	}
	if s.Done.Watermark() == block {
		s.Tuple = tuple
	}
	return nil
}

// findMoved says how rows are found that were written since into blocks that have been read, where the state has no
// snapshot: Airbyte's connector reads each range under another one, and keeps none of them. What it was going to do
// after the pass finds them: an xmin is as good as a snapshot, and a cursor grows with each write.
func (c *Ctid) findMoved() {
	if c.Snapshot != "" || c.Since != nil || c.Finished {
		return
	}
	switch then := c.Then.(type) {
	case *Xmin:
		c.Snapshot = fmt.Sprintf("%d:%d:", then.Bound, then.Bound)
	case *Cursor:
		if c.Moved == nil {
			c.Moved = then
		}
	}
}
