"""From the API's language codes (contract 2.2) to the locales that Azure and Google want. Pure.

The API names languages ("de"), these two services want a place as well ("de-DE").
"""

import re
from collections.abc import Mapping

from offhook.edge.speech.protocol import LanguageUnsupported

AUTO = frozenset({"auto", "auto_detect"})

_BOTH = """af-ZA am-ET az-AZ bg-BG bs-BA ca-ES cs-CZ da-DK de-DE el-GR en-US es-ES et-EE eu-ES fa-IR fi-FI
fil-PH fr-FR gl-ES gu-IN hi-IN hr-HR hu-HU hy-AM id-ID is-IS it-IT ja-JP jv-ID ka-GE kk-KZ km-KH kn-IN ko-KR
lo-LA lt-LT lv-LV mk-MK ml-IN mn-MN mr-IN ms-MY my-MM ne-NP nl-NL pl-PL pt-BR ro-RO ru-RU si-LK sk-SK sl-SI
sq-AL sr-RS sv-SE sw-KE ta-IN te-IN th-TH tr-TR uk-UA uz-UZ vi-VN zu-ZA"""
_AZURE = "ar-EG bn-IN cy-GB ga-IE he-IL mt-MT nb-NO pa-IN ps-AF so-SO ur-IN wuu-CN yue-CN zh-CN"
_GOOGLE = """ar-EG bn-BD cy-GB iw-IL no-NO pa-Guru-IN rw-RW ss-Latn-ZA st-ZA su-ID tn-Latn-ZA ts-ZA ur-PK ve-ZA
xh-ZA yue-Hant-HK"""

_WELL_FORMED = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8}){0,2}", re.ASCII)


def _by_language(*lists: str) -> dict[str, str]:
    return {code.partition("-")[0]: code for text in lists for code in text.split()}


AZURE: dict[str, str] = _by_language(_BOTH, _AZURE)
AZURE |= {"no": AZURE["nb"], "iw": AZURE["he"], "tl": AZURE["fil"], "jw": AZURE["jv"]}
GOOGLE: dict[str, str] = _by_language(_BOTH, _GOOGLE) | {"zh": "cmn-Hans-CN"}
GOOGLE |= {"nb": GOOGLE["no"], "he": GOOGLE["iw"], "tl": GOOGLE["fil"], "jw": GOOGLE["jv"]}


def locale(asked: str, known: Mapping[str, str], engine: str) -> str:
    """Return the locale for `asked`; a region that was asked for stays ("de-AT").

    Raises:
        LanguageUnsupported: the service has no such language.
    """
    code = asked.replace("_", "-")
    primary = code.partition("-")[0].lower()
    if primary not in known or not _WELL_FORMED.fullmatch(code.lower()):
        # Only a short tag is repeated: the value comes from outside.
        shown = primary if primary.isalnum() and len(primary) <= 12 else "that language"
        raise LanguageUnsupported(f"the {engine} engine does not know {shown}: choose another engine")
    place = known[primary]
    if code.lower() == primary or place.partition("-")[0] != primary:
        return place
    return f"{primary}{code[len(primary) :]}"
