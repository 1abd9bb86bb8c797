"""The page for people who find us in their logs: who this is, why, and how to make it stop."""

from __future__ import annotations

from html import escape

from .settings import SinkSettings

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>relaywatch</title>
<style>
body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem }}
section + section {{ border-top: 1px solid; margin-top: 2rem }}
</style>
</head>
<body>
<section lang="en">
<h1>You found us in your log</h1>
<p>This host, <b>{domain}</b>, belongs to {operator}. It receives the test messages of <i>relaywatch</i>,
a tool that looks for mail servers and proxies which serve strangers, before spammers find them.</p>
<p>A check asks your server whether it would relay one short message to this host. Nothing is sent to
anybody else, no password is tried, and this host relays nothing.</p>
<p>A check of a proxy asks it to lead here, and nowhere else: if one line of ours reaches this host through
your server, then anybody could reach anything through it, mail servers above all.</p>
<p>{contact_en}</p>
</section>
<section lang="ko">
<h1>로그에서 저희를 보셨습니까?</h1>
<p>이 호스트 <b>{domain}</b> 는 {operator} 이(가) 운영합니다. 외부인에게 열려 있는 메일 서버와 프록시를
스패머보다 먼저 찾아내는 도구인 <i>relaywatch</i> 의 시험 메일을 받는 곳입니다.</p>
<p>점검은 귀하의 서버가 짧은 메일 한 통을 이 호스트로 중계하는지만 확인합니다. 다른 사람에게는 아무것도
보내지 않고, 암호를 시도하지 않으며, 이 호스트는 어떤 메일도 중계하지 않습니다.</p>
<p>프록시 점검은 프록시에게 이 호스트로만 연결해 달라고 요청합니다. 저희의 한 줄이 귀하의 서버를 거쳐
이 호스트에 도착한다면, 누구든 그 서버를 거쳐 어디로든, 특히 메일 서버로 연결할 수 있다는 뜻입니다.</p>
<p>{contact_ko}</p>
</section>
</body>
</html>
"""


def render_notice(settings: SinkSettings) -> str:
    """Say in one line who runs this and whom to ask."""
    contact = f" Questions: {settings.contact}" if settings.contact else ""
    text = f"Takes only its own tests, relays nothing. Run by {settings.operator}.{contact}"
    return " ".join(text.split())[:400]


def render_page(settings: SinkSettings) -> str:
    """Write the page in English and Korean, from the sink's settings."""
    contact = escape(settings.contact)
    return _PAGE.format(
        domain=escape(settings.domain),
        operator=escape(settings.operator),
        contact_en=f"Questions, or no more checks of your servers, please: <b>{contact}</b>"
        if contact
        else "For questions, or to opt out, ask the owner of this address as registered in WHOIS.",
        contact_ko=f"문의와 점검 거부 요청: <b>{contact}</b>"
        if contact
        else "문의나 점검 거부는 WHOIS 에 등록된 이 주소의 소유자에게 연락해 주십시오.",
    )
