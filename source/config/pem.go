package config

import "strings"

// repair mends a PEM text that lost its line ends on the way: line ends written as the two characters \n or \r\n,
// Windows line ends, and spaces in place of line ends.
func repair(pem string) string {
	pem = strings.NewReplacer(`\r\n`, "\n", `\n`, "\n", "\r\n", "\n").Replace(pem)
	pem = strings.TrimSpace(pem)
	if pem == "" {
		return ""
	}
	if !strings.Contains(pem, "\n") {
		pem = strings.TrimSpace(unfold(pem))
	}
	return pem + "\n"
}

// unfold puts the line ends back into PEM blocks that stand on one line with spaces: BEGIN and END lines hold spaces
// themselves, base64 does not.
func unfold(pem string) string {
	var out strings.Builder
	for {
		begin := strings.Index(pem, "-----BEGIN ")
		if begin < 0 {
			break
		}
		body := strings.Index(pem[begin+11:], "-----")
		if body < 0 {
			break
		}
		body += begin + 11 + 5
		end := strings.Index(pem[body:], "-----END ")
		if end < 0 {
			break
		}
		end += body
		stop := strings.Index(pem[end+9:], "-----")
		if stop < 0 {
			break
		}
		stop += end + 9 + 5
		out.WriteString(pem[begin:body] + "\n")
		out.WriteString(strings.Join(strings.Fields(pem[body:end]), "\n"))
		out.WriteString("\n" + pem[end:stop] + "\n")
		pem = pem[stop:]
	}
	if out.Len() == 0 {
		return pem
	}
	return out.String() + pem
}
