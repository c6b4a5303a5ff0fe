package protocol

import (
	"context"
	"log/slog"
	"strings"
)

// LevelTrace and LevelFatal are the protocol's two levels that slog has no name for.
const (
	LevelTrace slog.Level = -8
	LevelFatal slog.Level = 12
)

// ParseLevel reads the value of the environment variable LOG_LEVEL; what it does not know is INFO.
func ParseLevel(name string) slog.Level {
	switch strings.ToUpper(name) {
	case "TRACE":
		return LevelTrace
	case "DEBUG":
		return slog.LevelDebug
	case "WARN", "WARNING":
		return slog.LevelWarn
	case "ERROR":
		return slog.LevelError
	case "FATAL":
		return LevelFatal
	}
	return slog.LevelInfo
}

// LogHandler is a handler for slog that writes each log as a LOG message: the text, then the attributes as key=value.
// Logs below level are dropped.
func (w *Writer) LogHandler(level slog.Level) slog.Handler {
	return &logHandler{w: w, level: level}
}

type logHandler struct {
	w     *Writer
	level slog.Level
	attrs string // rendered attributes of With
	group string // prefix of keys
}

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var text strings.Builder
	text.WriteString(r.Message)
	text.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&text, h.group, a)
		return true
	})
	return h.w.Write(&Message{Type: LogMessage, Log: &Log{Level: levelName(r.Level), Message: text.String()}})
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var text strings.Builder
	text.WriteString(h.attrs)
	for _, a := range attrs {
		appendAttr(&text, h.group, a)
	}
	return &logHandler{w: h.w, level: h.level, attrs: text.String(), group: h.group}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{w: h.w, level: h.level, attrs: h.attrs, group: h.group + name + "."}
}

func appendAttr(text *strings.Builder, group string, a slog.Attr) {
	text.WriteByte(' ')
	text.WriteString(group)
	text.WriteString(a.Key)
	text.WriteByte('=')
	text.WriteString(a.Value.Resolve().String())
}

func levelName(level slog.Level) string {
	switch {
	case level < slog.LevelDebug:
		return "TRACE"
	case level < slog.LevelInfo:
		return "DEBUG"
	case level < slog.LevelWarn:
		return "INFO"
	case level < slog.LevelError:
		return "WARN"
	case level < LevelFatal:
		return "ERROR"
	}
	return "FATAL"
}
