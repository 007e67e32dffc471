package session

import "strings"

// secretWords are what names of parameters end with whose values are secrets.
var secretWords = []string{"token", "secret", "password", "passwd", "pass", "pwd", "sign", "signature", "sig", "key", "auth", "jwt", "hdnts", "hdnea", "credential", "authorization"}

// Mask returns a text, such as an address that a client gave or a line of a log,
// with the values of parameters that are probably secrets ("?token=abc") and the
// password of an address ("rtmp://user:abc@host/") replaced by ***.
func Mask(s string) string {
	if !strings.Contains(s, "=") && !strings.Contains(s, "@") {
		return s
	}
	var b strings.Builder
	from := 0
	for i := 0; i < len(s); i++ {
		end := 0
		switch {
		case s[i] == '=' && secretName(s[:i]):
			end = i + 1 + valueLen(s[i+1:])
		case s[i] == ':' && strings.HasPrefix(s[i:], "://"):
			i += 2
			if n := passwordEnd(s[i+1:]); n > 0 {
				end = i + 1 + n
				i += strings.IndexByte(s[i+1:], ':') + 1
			}
		}
		if end > i+1 {
			b.WriteString(s[from:i+1] + "***")
			from, i = end, end-1
		}
	}
	if from == 0 {
		return s
	}
	b.WriteString(s[from:])
	return b.String()
}

// secretName reports whether the name that ends a text is that of a secret.
func secretName(before string) bool {
	at := len(before)
	for at > 0 && (wordByte(before[at-1]) || before[at-1] == '-') {
		at--
	}
	name := strings.ToLower(before[at:])
	for _, w := range secretWords {
		if strings.HasSuffix(name, w) {
			return true
		}
	}
	return false
}

func wordByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// valueLen is how long the value is that begins a text.
func valueLen(s string) int {
	if n := strings.IndexAny(s, "&#\"'\\;,)]} \t\r\n?"); n >= 0 {
		return n
	}
	return len(s)
}

// passwordEnd returns where the password of an address ends that follows "://", 0
// if there is none.
func passwordEnd(s string) int {
	at := strings.IndexByte(s, '@')
	if at < 0 || strings.ContainsAny(s[:at], "/?#\"' ") || !strings.Contains(s[:at], ":") {
		return 0
	}
	return at
}
