package cdc

import "source-postgres/protocol"

// Hold lets the log go on, by RunUntil, while streams are read for the first time that need every change from the
// present position on: those that waiting is true of, some of which may be followed already. States stay at this
// position, since from it on the log has to be read for those streams whatever happens.
func (r *Reader) Hold(waiting func(protocol.StreamDescriptor) bool) {
	at := r.at
	r.held, r.beyond = &at, 0
	for _, f := range r.streams {
		f.held = waiting(f.Descriptor)
	}
}

// Release goes back to the position of Hold. What has been sent since does not come again: the streams that did not
// wait go on from where they are, with numbers above those that they have.
//
// If the state of Hold is gone on from instead, because the sync failed, all of it does come again, for all streams
// together. Then no change has a smaller number than it had: the more records there are before one, the greater its
// number.
func (r *Reader) Release() {
	for _, f := range r.streams {
		if !f.held {
			f.since, f.above = max(f.since, r.at.LSN), r.at.Number
		}
		f.held = false
	}
	r.at, r.number, r.held = *r.held, r.held.Number, nil
}
