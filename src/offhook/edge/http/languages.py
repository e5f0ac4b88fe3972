"""The language codes that each transcription engine takes (contract appendix A)."""

_GOOGLE = """af sq am ar hy az eu bn bs bg my ca yue zh hr cs da nl en et fil fi fr gl ka de el gu iw hi
hu is id it ja jv kn kk km ko lo lv lt mk ms ml mr mn ne no fa pl pt pa ro ru rw sr si sk sl ss st es su
sw sv ta te th tn tr ts uk ur uz ve vi xh zu"""
_TELNYX = """en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no
th ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km
sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su
auto_detect"""
_AZURE = """af am ar bg bn bs ca cs cy da de el en es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja
ka kk km kn ko lo lt lv mk ml mn mr ms mt my nb ne nl pl ps pt ro ru si sk sl so sq sr sv sw ta te th tr
uk ur uz vi wuu yue zh zu auto"""
_NOVA_2 = """bg ca zh zh-CN zh-Hans zh-TW zh-Hant zh-HK cs da da-DK nl en en-US en-AU en-GB en-NZ en-IN
et fi nl-BE fr fr-CA de de-CH el hi hu id it ja ko ko-KR lv lt ms no pl pt pt-BR pt-PT ro ru sk es
es-419 sv sv-SE th th-TH tr uk vi auto_detect"""
_NOVA_3 = """en en-US en-AU en-GB en-IN en-NZ de nl sv sv-SE da da-DK es es-419 fr fr-CA pt pt-BR pt-PT
auto_detect"""
_XAI = "ar cs da de en es fa fil fr hi id it ja ko mk ms nl pl pt ro ru sv th tr vi"
# The last lines came with the linden-1 model (SDK 4.189).
_SPEECHMATICS = """en ba eu gl ga mt mn sw ug cy ar_en cmn_en en_ms en_ta tl es-bilingual-en cmn_en_ms_ta
ar be bg bn ca cmn cs da de el eo es et fa fi fr he hi hr hu ia id it ja ko lt lv mr ms nl no pl pt ro
ru sk sl sv ta th tr uk ur vi yue en-US en-GB en-AU cmn-Hans cmn-Hant auto auto_beta multi"""
_HUMAIN = "ar en codeswitch auto"
_RESON8 = "auto nl en fr fy de it pl pt es sv"
_COHERE = "ar en"


def normal(code: str) -> str:
    """Return a language code in the form in which codes are compared."""
    return code.lower().replace("_", "-")


def _codes(*lists: str) -> dict[str, str]:
    return {normal(code): code for text in lists for code in text.split()}


GOOGLE = _codes(_GOOGLE)
"""Each of these maps the compared form of a code to the form Telnyx documents."""
TELNYX = _codes(_TELNYX)
AZURE = _codes(_AZURE)
NOVA_2 = _codes(_NOVA_2)
NOVA_3 = _codes(_NOVA_3)
FLUX = _codes(_NOVA_2, _NOVA_3, "multi")
XAI = _codes(_XAI)
SPEECHMATICS = _codes(_SPEECHMATICS)
HUMAIN = _codes(_HUMAIN)
RESON8 = _codes(_RESON8)
COHERE = _codes(_COHERE)


def find(code: str, known: dict[str, str]) -> str | None:
    """Return `code` as documented, or None when the engine does not have it.

    A region that the engine does not list ("en-US" where it lists "en") falls back to its
    language: apps move between engines more often than they rewrite their codes.
    """
    wanted = normal(code)
    return known.get(wanted) or known.get(wanted.partition("-")[0])
