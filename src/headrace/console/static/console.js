// Live updates, keys, light and dark, charts. All of it is an extra: every page works without.
(() => {
  'use strict';
  const SECOND = 1000;
  let held = false;

  // Live: one tick for all parts of a page, and none while nobody looks or somebody is at work in it.
  const state = document.getElementById('live-state');
  const say = (text) => { if (state && state.textContent !== text) state.textContent = text; };
  const busy = () => document.querySelector('dialog[open], details.menu[open], td.tick :checked') || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? '');
  let ticks = 0;
  setInterval(() => {
    if (document.hidden || held || busy()) return;
    document.body.dispatchEvent(new Event('tick'));
    if (ticks++ % 3 === 2) document.body.dispatchEvent(new Event('slow-tick'));
  }, 5 * SECOND);
  document.body.addEventListener('htmx:sendError', () => say('not reachable'));
  document.body.addEventListener('htmx:afterRequest', (event) => { if (event.detail.successful) say(held ? 'held' : 'live'); });
  // What a person has in hand in a part stays so when the part is renewed: the focus, what is unfolded, what is scrolled.
  const handles_of = (part) => [...part.querySelectorAll('a, button, summary, [tabindex]')].map((element) => {
    const form = element.form ? element.form.action + new URLSearchParams(new FormData(element.form)) : '';
    return [`${element.tagName} ${element.getAttribute('href') ?? ''} ${form} ${element.getAttribute('aria-label') ?? element.textContent.trim()}`, element];
  });
  let before = null;
  document.body.addEventListener('htmx:beforeSwap', ({ detail: { target } }) => {
    if (!target.classList.contains('part')) return;
    before = { id: target.id, parts: handles_of(target), focused: document.activeElement };
  });
  document.body.addEventListener('htmx:afterSwap', () => {
    const part = before && document.getElementById(before.id);
    if (!part) return;
    const renewed = handles_of(part);
    for (const [name, old] of before.parts) {
      const at = renewed.findIndex(([other]) => other === name);
      if (at < 0) continue;
      const [[, element]] = renewed.splice(at, 1);
      if (old === before.focused) element.focus({ preventScroll: true });
      if (old.tagName === 'SUMMARY') element.parentElement.open = old.parentElement.open;
      element.scrollTo(old.scrollLeft, old.scrollTop);
    }
    before = null;
  });
  // What an action refuses comes back as a page that says why.
  document.body.addEventListener('htmx:beforeSwap', (event) => {
    if (event.detail.requestConfig.verb !== 'get' && event.detail.xhr.status >= 400) {
      const page = new DOMParser().parseFromString(event.detail.xhr.responseText, 'text/html');
      alert(page.querySelector('[role=alert]')?.innerText ?? event.detail.xhr.responseText);
      event.detail.shouldSwap = false;
    }
  });

  const dark = () => (document.documentElement.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
  const switchTheme = () => {
    const theme = dark() ? 'light' : 'dark';
    document.documentElement.dataset.theme = theme;
    localStorage.setItem('headrace-theme', theme);
    draw();
  };
  document.querySelector('[data-theme-switch]')?.addEventListener('click', switchTheme);

  const keys = document.getElementById('keys');
  document.querySelector('[data-help]')?.addEventListener('click', () => keys.showModal());
  const rows = () => [...document.querySelectorAll('tbody tr a:first-of-type')].filter((link) => link.closest('tr').querySelector('a') === link);
  const move = (step) => {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(document.activeElement);
    all[Math.min(all.length - 1, Math.max(0, at + step))].focus();
  };
  let after = '';
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const key = event.key;
    if (after === 'g') {
      after = '';
      document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.click();
      return;
    }
    if (key === 'g') { after = 'g'; setTimeout(() => { after = ''; }, SECOND); return; }
    if (key === '?') keys?.showModal();
    else if (key === 'j') move(1);
    else if (key === 'k') move(-1);
    else if (key === 't') switchTheme();
    else if (key === 'p') { held = !held; say(held ? 'held' : 'live'); }
    else if (key === '/') document.querySelector('[data-search]')?.focus();
    else return;
    event.preventDefault();
  });

  // Charts: <figure class="chart" data-chart='{"times": […], "series": [{"label": …, "values": […]}]}'>
  const tones = ['--accent', '--bad', '--quiet', '--warn'];
  // All times of the console are UTC.
  const clock = (seconds) => new Date(seconds * SECOND).toISOString().slice(11, 16);
  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    for (const figure of document.querySelectorAll('[data-chart]')) {
      const chart = JSON.parse(figure.dataset.chart);
      const axis = { stroke: colour('--muted'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false }, font: '12px system-ui' };
      figure.querySelector('.uplot')?.remove();
      const { paddingLeft, paddingRight } = getComputedStyle(figure);
      const width = Math.max(100, figure.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight));
      new uPlot({
        width, height: 160, tzDate: (seconds) => uPlot.tzDate(new Date(seconds * SECOND), 'Etc/UTC'),
        axes: [{ ...axis, values: (_, times) => times.map(clock) }, { ...axis, size: 46 }],
        series: [{ label: 'UTC', value: (_, at) => (at == null ? '--' : clock(at)) }, ...chart.series.map((each, index) => ({
          label: each.label, stroke: colour(tones[index % tones.length]), width: 2,
          fill: index === 0 ? `color-mix(in srgb, ${colour(tones[0])} 14%, transparent)` : undefined, points: { show: false },
        }))],
      }, [chart.times, ...chart.series.map((each) => each.values)], figure);
    }
  };
  addEventListener('load', draw);
  document.body.addEventListener('htmx:afterSettle', draw);
  let resized;
  addEventListener('resize', () => { clearTimeout(resized); resized = setTimeout(draw, 150); });
})();
