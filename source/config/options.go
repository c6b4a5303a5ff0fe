package config

import "strings"

// options takes the settings out of a text like "-c name=value --name=value" and leaves the rest, as it stands, in
// d.Options. A backslash takes the next character literally, also a space.
func (p *parser) options(text string, d *Driver) {
	words := splitOptions(text)
	for i := 0; i < len(words); i++ {
		word := words[i].plain
		var pair string
		switch {
		case word == "-c" && i+1 < len(words):
			i++
			pair = words[i].plain
		case strings.HasPrefix(word, "-c"):
			pair = word[2:]
		case strings.HasPrefix(word, "--"):
			pair = word[2:]
		default:
			d.Options = strings.TrimSpace(d.Options + " " + words[i].raw)
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			p.warn(`A setting in options of "jdbc_url_params" is ignored: it does not have the form -c name=value.`)
			continue
		}
		// The server takes - for _ in names on its command line.
		d.Settings = append(d.Settings, Setting{strings.ToLower(strings.ReplaceAll(name, "-", "_")), value})
	}
}

// A word is one argument in options: as written, and without its backslashes.
type word struct{ raw, plain string }

func splitOptions(text string) []word {
	var words []word
	var plain strings.Builder
	start := -1
	end := func(i int) {
		if start >= 0 {
			words = append(words, word{text[start:i], plain.String()})
			plain.Reset()
			start = -1
		}
	}
	for i := 0; i < len(text); i++ {
		if strings.IndexByte(" \t\r\n\v\f", text[i]) >= 0 {
			end(i)
			continue
		}
		if start < 0 {
			start = i
		}
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		plain.WriteByte(text[i])
	}
	end(len(text))
	return words
}
