"""The page of a search."""

from __future__ import annotations

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ result.name }}: {{ result.winners | length }} winners</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; color: #1c2529; background: #fff; max-width: 1080px;
         margin: 2.5rem auto; padding: 0 1.5rem; }
  h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
  h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; border-bottom: 1px solid #dfe5e8; padding-bottom: .25rem; }
  .quiet { color: #5b6b73; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  th, td { text-align: left; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid #eceff1; vertical-align: top; }
  .small td, .small th { font-size: 13px; padding: .15rem .9rem .15rem 0; }
  .dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em; }
  .lines td:last-child { white-space: pre-line; }
  .scroll { overflow-x: auto; }
  svg { max-width: 100%; height: auto; }
</style>
</head>
<body>
<h1>{{ result.name }}: a search</h1>
{% for remark in remarks %}
<p class="quiet">{{ remark[0] | upper }}{{ remark[1:] }}.</p>
{% endfor %}

<h2>Winners</h2>
{% if rows %}
<p class="quiet">No other trial is as good everywhere and better somewhere. Each stands in a spec of its own,
<code>winner-N.xc.yaml</code>.</p>
<div class="scroll"><table class="lines">
<tr>{% for name in headings %}<th>{{ name }}</th>{% endfor %}</tr>
{% for colour, row in rows %}
<tr>{% for cell in row %}<td>{% if loop.first %}<span class="dot" style="background: {{ colour }}"></span>{% endif %}
{{- cell }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
{% else %}
<p>None: no trial was measured and kept all bounds.</p>
{% endif %}

{% if plot %}
<h2>All that was measured</h2>
<p class="quiet">Coloured: winners, with their places. Grey: others; hollow: a bound is broken. Trials that were stopped
early have no figures at their end, and are not drawn.</p>
{{ plot | safe }}
{% endif %}

<h2>Every trial</h2>
<p class="quiet">{% for state, meaning in states.items() %}{% if state in result.counts %}
<b>{{ state }}</b>: {{ meaning }}. {% endif %}{% endfor %}</p>
<div class="scroll"><table class="small">
<tr>{% for name in columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for line in trials %}
<tr>{% for cell in line %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
</body>
</html>
"""
