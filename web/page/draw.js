// Drawings of the status page, and the words that several parts of it use. Nothing here knows where data comes from, and text from outside only
// ever becomes text.

const SVG = 'http://www.w3.org/2000/svg'

/** An element with attributes and children; a string becomes text. */
export function el(name, attributes = {}, ...children) {
  const e = document.createElement(name)
  for (const [k, v] of Object.entries(attributes)) if (v !== false && v != null) e.setAttribute(k, v)
  e.append(...children.filter(c => c != null && c !== ''))
  return e
}

function svg(name, attributes = {}, ...children) {
  const e = document.createElementNS(SVG, name)
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v)
  e.append(...children)
  return e
}

const reasons = {
  'first-owner': 'the service was defined', 'owner-failed': 'the holder before failed', 'owner-left': 'the holder before left', 'owner-sleeps': 'the holder before went to sleep',
  'owner-drained': 'the holder before was stopped', 'owner-unfit': 'the holder before could not hold it', 'owner-asleep': 'the holder before was asleep',
  'target-ready': 'a target is awake again', 'better-target': 'a preferred target is ready', 'operator-moved': 'an operator moved it', 'service-deleted': 'the service was deleted',
  'service-changed': 'its definition changed', 'foreign-holder': 'a stranger has its address', 'nobody-available': 'no host could take it', 'check-failed': 'its checks failed',
  'check-passed': 'its checks pass again', 'node-joined': 'joined', 'node-returned': 'back in touch', 'operator-sleep': 'an operator put it to sleep', 'operator-wake': 'an operator woke it',
  'idle': 'nobody needed it', 'handed-over': 'handed over', 'demand': 'a client wants a service', 'quorum-lost': 'its vote was needed', 'suspend-failed': 'its suspend failed',
  'suspend-timeout': 'its hand-over took too long', 'sleep-cancelled': 'somebody came', 'node-failed': 'went silent', 'node-left': 'left', 'woke-up': 'woke up', 'gave-up': 'did not wake',
  'woke-unasked': 'woke unasked', 'woke-alarm': 'woke to look after the others', 'woke-on-time': 'woke on time', 'suspended-by-others': 'somebody suspended it',
  'drain-ended': 'a drain is over', 'canary': 'tried whether it can be woken', 'cluster-recovered': 'the cluster was recovered',
  'epochs-lifted': 'a backup of another cluster was restored',
}

/** What a reason means, in a few words. */
export const reason = r => reasons[r] || r

/** A time that began long ago is none. */
export const known = t => t && !t.startsWith('0001-')

/** "3 min 5 s", roughly. */
export function span(seconds) {
  const s = Math.max(0, seconds)
  if (s < 9.95) return (s < 0.0995 ? `${Math.round(s * 1000)} ms` : `${s.toFixed(1).replace(/\.0$/, '')} s`)
  if (s < 120) return `${Math.round(s)} s`
  if (s < 7200) return `${Math.round(s / 60)} min`
  if (s < 172800) return `${(s / 3600).toFixed(s < 36000 ? 1 : 0).replace(/\.0$/, '')} h`
  return `${Math.round(s / 86400)} days`
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
const exact = new Intl.DateTimeFormat(undefined, { weekday: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })

/** A time of day, to the second. */
export const at = t => exact.format(new Date(t))

const powers = { awake: 'awake', suspending: 'going to sleep', asleep: 'asleep', waking: 'waking', off: 'off' }

/** What a power state is called. */
export const power = p => powers[p] || p

/** Times for the marks of an axis, by the clock on the wall: on a day on which clocks are set the hours stay whole. */
export function ticks(from, until, step) {
  const out = [], day = new Date(from)
  for (let n = 0, t = 0; t <= until; n++) {
    t = new Date(day.getFullYear(), day.getMonth(), day.getDate(), 0, 0, n * step).getTime()
    if (t >= from && t <= until && t !== out.at(-1)) out.push(t)
  }
  return out
}

/** The time-line: a row for each service with who held it, one for each host with what it was. color gives the number of a host's colour; what is
 *  after known is not known. */
export function timeline(day, width, color, known) {
  const row = 30, bar = 20, top = 6, left = Math.min(130, Math.max(64, width * 0.16)), right = 2
  const until = Date.parse(day.until), plot = Math.max(1, width - left - right)
  // A cluster that was founded an hour ago fills the line as well.
  const first = Math.min(...[...day.services, ...day.nodes].flatMap(r => r.spans.map(s => Date.parse(s.from))), until - 600e3)
  const from = Math.max(Date.parse(day.from), first)
  const x = t => left + plot * (Math.min(Math.max(+new Date(t), from), until) - from) / (until - from)
  const rows = day.services.length + day.nodes.length, gap = day.services.length ? 12 : 0, height = top + rows * row + gap + 22
  const out = svg('svg', { viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': `Who held what, and who was awake, from ${at(from)} to ${at(day.until)}. The list below says the same.` })
  out.append(svg('defs', {}, svg('pattern', { id: 'off', width: 6, height: 6, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' }, svg('path', { class: 'hatch', d: 'M1 0v6' }))))
  const step = [60, 120, 300, 600, 1800, 3600, 7200, 10800, 21600].find(s => (until - from) / 1000 / s <= plot / 75) || 43200
  for (const t of ticks(from, until, step)) {
    const px = Math.round(x(t)) + 0.5
    out.append(svg('line', { class: 'rule', x1: px, x2: px, y1: top, y2: height - 20 }))
    if (px > left + 8 && px < width - 16) out.append(svg('text', { class: 'axis', x: px, y: height - 6, 'text-anchor': 'middle' }, clock.format(t)))
  }
  let y = top
  const line = (name, spans, draw) => {
    const text = svg('text', { class: 'label', x: 0, y: y + bar - 5 }, clip(name, left - 8))
    text.append(svg('title', {}, name))
    const base = svg('rect', { class: 'base', x: left, y, width: plot, height: bar, rx: 3 })
    base.append(svg('title', {}, `${name}: not known`))
    out.append(text, base)
    for (const s of spans) {
      const a = x(s.from), w = Math.max(1, x(s.until) - a)
      draw(s, a, w)
    }
    y += row
  }
  const block = (cls, a, w, title) => {
    const r = svg('rect', { class: cls, x: a.toFixed(2), y, width: w.toFixed(2), height: bar, rx: Math.min(3, w / 3) })
    r.append(svg('title', {}, title))
    out.append(r)
    if (cls === 'nobody' || cls === 'p-off') out.append(svg('rect', { class: 'over', fill: 'url(#off)', x: a.toFixed(2), y, width: w.toFixed(2), height: bar })) // for those who see no red
  }
  for (const s of day.services) {
    line(s.service, s.spans, (h, a, w) => {
      block(h.owner ? `f${color(h.owner) % 8}` : 'nobody', a, w, `${s.service}: ${h.owner || 'nobody'} from ${at(h.since)}, ${span((Date.parse(h.until) - Date.parse(h.since)) / 1000)}, epoch ${h.epoch}: ${reason(h.reason)}`)
      if (h.owner && color(h.owner) > 7) out.append(svg('rect', { class: 'stripe', x: a.toFixed(2), y: y + bar - 5, width: w.toFixed(2), height: 3 }))
      const word = h.owner || 'nobody'
      if (w > 6.5 * word.length + 12) out.append(svg('text', { class: 'on', x: a + 6, y: y + bar - 6 }, word))
    })
  }
  y += gap
  for (const n of day.nodes) {
    const here = y
    line(n.node, n.spans, (p, a, w) => block(`p-${p.power}`, a, w, `${n.node}: ${power(p.power)} from ${at(p.since)}, ${span((Date.parse(p.until) - Date.parse(p.since)) / 1000)}${p.reason ? ': ' + reason(p.reason) : ''}`))
    for (const w of day.wakes.filter(w => w.node === n.node)) {
      const px = x(w.started), failed = w.result === 'gave-up'
      const m = svg('path', { class: failed ? 'call-failed' : 'call', d: failed ? `M${px - 4} ${here - 5}l8 8m0 -8l-8 8` : `M${px - 5} ${here - 5}h10l-5 8z` })
      m.append(svg('title', {}, wake(w)))
      out.append(m)
    }
  }
  if (known < until) {
    const px = Math.min(x(known), left + plot - 2), cover = svg('rect', { class: 'unknown', x: px, y: top - 4, width: left + plot - px, height: height - top - 18 })
    cover.append(svg('title', {}, `From ${at(known)} on nothing is known here.`))
    out.append(cover)
  }
  return out
}

/** One wake in a sentence. */
export function wake(w) {
  const what = w.cause === 'demand' ? `${w.client || 'a client'} wanted ${w.service}${w.port ? ' (' + w.port + ')' : ''}` : reason(w.cause)
  const last = w.phases.length ? `, ${w.phases.at(-1).phase} after ${span(w.phases.at(-1).after_seconds)}` : ''
  return `${w.node} was called at ${at(w.started)}: ${what}${w.result ? '; ' + reason(w.result) : ''}${last}`
}

function clip(text, width) {
  const most = Math.floor(width / 7)
  return text.length <= most ? text : text.slice(0, Math.max(1, most - 1)) + '…'
}

/** How long wakes of one host took to a phase: a dot for each, in piles. */
export function dots(samples, limit, width, color) {
  const left = 6, right = 10, plot = width - left - right, r = 4.5, base = 112
  const values = samples.filter(s => !s.failed).map(s => s.value), failed = samples.length - values.length
  const max = Math.max(1, ...values) * 1.15, x = v => left + plot * Math.min(v / max, 1)
  const out = svg('svg', { viewBox: `0 0 ${width} ${base + 24}`, height: base + 24, role: 'img', 'aria-label': `${values.length} wakes from ${span(Math.min(...values))} to ${span(Math.max(...values))}${failed ? `, and ${failed} that failed` : ''}` })
  const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60].find(s => max / s <= 6) || 120
  for (let v = 0; v <= max; v += step) {
    const px = Math.round(x(v)) + 0.5
    out.append(svg('line', { class: 'rule', x1: px, x2: px, y1: 18, y2: base }), svg('text', { class: 'axis', x: px, y: base + 16, 'text-anchor': v === 0 ? 'start' : 'middle' }, v === 0 ? '0' : span(v)))
  }
  const piles = new Map(), most = Math.floor((base - 26) / (2 * r + 1))
  for (const s of samples.filter(s => !s.failed).sort((a, b) => a.value - b.value)) {
    const bin = Math.round(x(s.value) / (2 * r + 1)), n = piles.get(bin) || 0
    piles.set(bin, n + 1)
    const c = svg('circle', { class: `f${color}`, cx: Math.max(left + r, bin * (2 * r + 1)), cy: base - r - 2 - Math.min(n, most) * (2 * r + 1), r })
    c.append(svg('title', {}, `${span(s.value)}, ${at(s.at)}`))
    out.append(c)
  }
  const sorted = values.sort((a, b) => a - b), rank = q => sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)]
  const marks = [['half', 0.5], ['95 %', 0.95]].map(([word, q]) => ({ word: `${word} ${span(rank(q))}`, px: x(rank(q)) }))
  const wide = marks.map(m => 6.6 * m.word.length), places = marks.map((m, i) => Math.min(Math.max(0, m.px - wide[i] / 2), width - wide[i]))
  if (places[0] + wide[0] + 8 > places[1]) places[0] = Math.max(0, places[1] - wide[0] - 8)
  places[1] = Math.max(places[1], places[0] + wide[0] + 8)
  marks.forEach((m, i) => out.append(svg('line', { class: 'mark', x1: m.px, x2: m.px, y1: 16, y2: base }), svg('text', { class: 'axis', x: places[i], y: 11 }, m.word)))
  if (limit <= max) out.append(svg('line', { class: 'limit', x1: x(limit), x2: x(limit), y1: 18, y2: base }, svg('title', {}, `failed after ${span(limit)}`)))
  return out
}
