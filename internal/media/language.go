package media

import "strings"

// languages are the codes of three letters (ISO 639-2, both kinds where there are two),
// which transport streams have, and those of two, which RFC 5646 wants where there is one.
const languages = "ara:ar bul:bg cat:ca ces:cs chi:zh cze:cs dan:da deu:de dut:nl ell:el eng:en est:et eus:eu baq:eu fas:fa per:fa fin:fi fra:fr fre:fr ger:de gle:ga glg:gl " +
	"gre:el heb:he hin:hi hrv:hr hun:hu ice:is ind:id isl:is ita:it jpn:ja kor:ko lav:lv lit:lt mac:mk mkd:mk may:ms msa:ms nld:nl nob:nb nno:nn nor:no pol:pl por:pt " +
	"ron:ro rum:ro rus:ru slk:sk slo:sk slv:sl spa:es sqi:sq alb:sq srp:sr swe:sv tam:ta tel:te tha:th tur:tr ukr:uk urd:ur vie:vi wel:cy cym:cy zho:zh"

// Language returns a track's language as RFC 5646 has it, empty if code names none.
func Language(code string) string {
	if code == "und" || code == "mis" || code == "mul" || code == "zxx" || code == "qaa" {
		return ""
	}
	for pair := range strings.FieldsSeq(languages) {
		if long, short, _ := strings.Cut(pair, ":"); strings.EqualFold(long, code) {
			return short
		}
	}
	return code
}
