"""The page of a comparison."""

from __future__ import annotations

TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ found.recipe }}: {{ found.rows | length }} models compared</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; color: #1c2529; background: #fff; max-width: 1080px;
         margin: 2.5rem auto; padding: 0 1.5rem; }
  h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
  h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; border-bottom: 1px solid #dfe5e8; padding-bottom: .25rem; }
  h3 { font-size: 1rem; margin: 1.8rem 0 .4rem; }
  .quiet { color: #5b6b73; }
  .warn { border-left: 3px solid #c8553d; padding: .2rem .8rem; margin: .4rem 0; background: #fbf3f0; }
  .note { border-left: 3px solid #1f6f8b; padding: .2rem .8rem; margin: .4rem 0; background: #f0f6f8; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  th, td { text-align: left; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid #eceff1; vertical-align: top; }
  th small { display: block; font-weight: normal; color: #5b6b73; }
  .dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em; }
  .scroll { overflow-x: auto; }
  pre { background: #f6f8f9; padding: .8rem 1rem; overflow-x: auto; font-size: 12.5px; line-height: 1.45; }
  svg { max-width: 100%; height: auto; }
</style>
</head>
<body>
<h1>{{ found.rows | length }} models, one recipe</h1>
<p class="quiet">Recipe {{ found.recipe }} for all; their own <code>train</code> sections are not used:
{{ found.recipe_line }}. {{ agreement | capitalize }}</p>
{% for warning in found.warnings %}
<p class="warn">{{ warning }}</p>
{% endfor %}

<div class="scroll"><table>
<tr>{% for name, below in headings %}<th>{{ name }}<small>{{ below }}</small></th>{% endfor %}</tr>
{% for colour, row in rows %}
<tr>{% for cell in row %}<td>{% if loop.first %}<span class="dot" style="background: {{ colour }}"></span>{% endif %}
{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
{% for remark in found.remarks %}
<p class="note">{{ remark }}</p>
{% endfor %}

<h2>Learning</h2>
<p class="quiet">Lines: training, running mean; dots: held-out data.
{% if found.seeds > 1 %}Further seeds are faint.{% endif %}</p>
{{ curves | safe }}

<h2>Cost over length</h2>
<p class="quiet">Counted, not timed; for one sequence. A line ends where the model takes no longer text.</p>
{{ costs | safe }}

<h2>The models</h2>
{% for section in sections %}
<h3><span class="dot" style="background: {{ section.colour }}"></span>{{ section.label }}</h3>
<pre>{{ section.summary }}</pre>
{% if section.executors %}
<div class="scroll"><table>
<tr><th>read</th><th>executor</th><th>why</th></tr>
{% for read, executor, reason in section.executors %}
<tr><td>{{ read }}</td><td>{{ executor }}</td><td>{{ reason }}</td></tr>
{% endfor %}
</table></div>
{% endif %}
<div class="scroll">{{ section.drawing | safe }}</div>
{% endfor %}
</body>
</html>
"""
