"""The style sheet of the evaluation page: two palettes, one for light and one for dark screens. Nothing is fetched."""

STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf7;--card:#fff;--ink:#1d2330;--soft:#667085;--rule:#e6e3da;--accent:#0f766e;
--s0:#0f766e;--s1:#c2410c;--s2:#7c3aed;--s3:#b7791f;--s4:#1d4ed8;--s5:#64748b;--s6:#be185d;--s7:#4d7c0f;
--more:#0f766e2e;--less:#c2410c2e}
@media(prefers-color-scheme:dark){:root{--paper:#12151c;--card:#1a1f29;--ink:#e7e9ee;--soft:#98a2b3;--rule:#2b3240;
--accent:#2dd4bf;--s0:#2dd4bf;--s1:#fb923c;--s2:#c4b5fd;--s3:#facc15;--s4:#93c5fd;--s5:#94a3b8;--s6:#f9a8d4;
--s7:#bef264;--more:#2dd4bf38;--less:#fb923c38}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
header,main,footer{max-width:1240px;margin:0 auto;padding:0 24px}
header{padding-top:40px}
h1{margin:0;font-size:30px;letter-spacing:-.02em}
h1 span{color:var(--accent);font-weight:400}
header p,section>p{margin:4px 0 0;color:var(--soft);max-width:80ch}
section{margin:40px 0}
h2{margin:0;font-size:20px;letter-spacing:-.01em}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(158px,1fr));gap:12px;margin:24px 0}
.card{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:14px 16px;display:flex;
flex-direction:column}
.card b{font-size:26px;line-height:1.2;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.card i{font-style:normal;font-size:12px;color:var(--soft);min-height:1.5em;font-variant-numeric:tabular-nums}
.card span{font-size:13px;margin-top:6px;line-height:1.35}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr));gap:16px;margin:16px 0}
figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:16px 16px 10px}
figcaption{font-weight:600;margin-bottom:6px}
svg{display:block;width:100%;height:auto}
svg text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:var(--soft)}
svg .axis{fill:var(--ink)}
.grid{stroke:var(--rule);stroke-width:1}
.line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}
.dot{fill:var(--c)}
.whisker{stroke:var(--c);stroke-width:1;opacity:.45}
.bar{fill:var(--c);opacity:.85}
.error{stroke:var(--ink);stroke-width:1.4}
.limit,.line.ideal{stroke:var(--ink);stroke-width:1.4;stroke-dasharray:5 4}
.s0{--c:var(--s0)}.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}
.s4{--c:var(--s4)}.s5{--c:var(--s5)}.s6{--c:var(--s6)}.s7{--c:var(--s7)}.ideal{--c:var(--ink)}
.line.d1{stroke-dasharray:8 4}.line.d2{stroke-dasharray:2 4}.line.d3{stroke-dasharray:8 4 2 4}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;margin:4px 0 0;font-size:13px;color:var(--soft)}
.key::before{content:"";display:inline-block;width:18px;margin-right:6px;vertical-align:middle;
border-top:3px solid var(--c)}
.key.d1::before{border-top-style:dashed}.key.d2::before{border-top-style:dotted}.key.d3::before{border-top-style:double}
details{margin:12px 0;background:var(--card);border:1px solid var(--rule);border-radius:12px}
summary{cursor:pointer;padding:10px 16px;font-weight:600}
.wide{overflow-x:auto;padding:0 16px 12px}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th{font-weight:600;text-align:left;color:var(--soft);vertical-align:bottom}
th,td{padding:5px 10px 5px 0;border-bottom:1px solid var(--rule)}
td:first-child{white-space:nowrap}
tbody tr:last-child td{border-bottom:0}
.n{text-align:right;padding:5px 0 5px 14px}
td i{font-style:normal;color:var(--soft);font-size:12px;white-space:nowrap}
td em{color:var(--soft);font-size:12px}
.areas td.n{padding:5px 8px;background:linear-gradient(to right,transparent var(--from),var(--fill) var(--from),
var(--fill) var(--to),transparent var(--to))}
.more{--fill:var(--more)}.less{--fill:var(--less)}
footer{padding-bottom:48px;color:var(--soft);font-size:13px}
@media print{body{background:#fff}details{break-inside:avoid}}
"""
