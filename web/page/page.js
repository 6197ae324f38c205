// The status page: it hears the agent's status as a stream, and draws a part anew when that part has changed.
import { at, dots, el, known, power, reason, span, timeline, wake } from '/draw.js'

const byId = id => document.getElementById(id)
const drawn = new Map() // part: what it was drawn from
let heard = 0 // when the agent was heard last, by this browser's clock
let offset = 0 // the agent's clock minus this browser's
let last = null // the newest status
let day = null // the newest last day
let stream = null

/** Draws a part if what it is drawn from has changed. */
function draw(part, from, how) {
  const key = JSON.stringify(from)
  if (drawn.get(part) === key) return
  drawn.set(part, key)
  how()
}

/** The number of a host's colour, of eight; the next eight hosts have them once more, as rings. */
function color(node) {
  const i = last ? last.nodes.findIndex(n => n.name === node) : -1
  return i < 0 ? 7 : i % 16
}

/** A time that goes on: "3 min ago". */
const since = t => known(t) ? el('time', { datetime: t, title: at(t) }, ago(t)) : el('span', { class: 'quiet' }, 'never')
const ago = t => `${span((Date.now() + offset - Date.parse(t)) / 1000)} ago`
const count = (n, what) => `${n} ${what}${n === 1 ? '' : 's'}`
const tag = (text, kind = '', title) => el('span', { class: `tag ${kind}`, title }, text)
const dot = node => el('span', { class: node ? `dot b${color(node) % 8}${color(node) < 8 ? '' : ' ring'}` : 'dot', 'aria-hidden': 'true' })

function facts(...pairs) {
  const out = el('dl', { class: 'facts' })
  for (const [name, ...what] of pairs.filter(Boolean)) out.append(el('dt', {}, name), el('dd', {}, ...what))
  return out
}

/** What is wrong and, where the agent says so, what to do about it. */
const troubles = s => s.troubles || s.problems.map(p => ({ what: p, do: '' }))

function problems(list) {
  if (!list.length) return [el('p', { class: 'fine' }, 'Nothing that this host knows of.')]
  return [el('ul', { class: 'wrong-list' }, ...list.map(t => el('li', {}, t.what, t.do ? el('span', { class: 'small' }, t.do) : '')))]
}

/** For how long this host has heard of no leader, in seconds: 0 = it has; an election is too short to be worth a word. */
function dated() {
  const k = last?.known
  if (!k || k.current) return 0
  if (!k.age_seconds) return last.cluster.id ? Infinity : 0 // never in this life of its agent
  const age = k.age_seconds + (Date.now() - heard) / 1000
  return age > 5 ? age : 0
}

const states = { serving: ['serving', 'good'], holding: ['a front, while no target is up', 'warn'], claiming: ['about to take over', 'warn'], silent: ['silent', 'bad'], none: ['nobody', 'bad'] }

const held = { granted: 'granted by this host, too', silent: 'not asked for any more', 'presumed-open': 'open, as its lease is granted', unknown: 'not known here' }

function service(v, s) {
  const [word, kind] = states[v.owner_state] || [v.owner_state, '']
  const health = v.health.map(h => el('span', { class: 'small' }, tag(h.state, { ready: 'good', failing: 'bad' }[h.state] || '', h.detail), ` ${h.node}${h.state === 'ready' || !h.detail ? '' : ': ' + h.detail}`))
  const lease = v.lease.state === 'held' ? el('span', { id: `lease-${v.name}` }) : { asking: 'asked for', refused: 'refused', none: 'none' }[v.lease.state] || v.lease.state
  const there = v.holder && v.owner !== s.node && v.owner // of a holder elsewhere, as far as this host knows
  const waits = [v.waiting.attempts && `${v.waiting.attempts} to be connected`, v.waiting.connections && `${v.waiting.connections} with a connection`].filter(Boolean).join(', ')
  return el('article', { class: 'card service', 'aria-label': `service ${v.name}` },
    el('header', {}, el('h3', {}, v.name), v.mode === 'address' ? tag('address only', '', v.mode_gives) : ''),
    el('p', { class: 'where mono' }, [...v.addresses, ...v.ports].join('  ')),
    el('p', { class: 'who' }, dot(v.owner), v.owner || 'nobody', tag(word, kind)),
    facts(
      ['Since', since(v.since), v.reason ? ` (${reason(v.reason)})` : ''],
      ['Epoch', String(v.epoch), v.by ? el('span', { class: 'quiet' }, ` decided by ${v.by}`) : ''],
      ['Targets', v.targets.join(', ')],
      there && ['Its lease', held[v.holder.lease] || v.holder.lease],
      there && ['Its fence', held[v.holder.fence] || v.holder.fence],
      [`On ${s.node}`, { serving: 'serving', holding: 'holding', claiming: 'claiming', parked: 'prepared', none: 'nothing' }[v.role] || v.role],
      v.role !== 'none' && ['Lease', lease],
      v.role !== 'none' && ['Fence', v.fence.state, v.fence.kind ? el('span', { class: 'quiet', title: v.fence.limits.join(' ') }, ` ${v.fence.kind}`) : ''],
      waits && ['Clients', waits],
      health.length && ['Checks', ...health],
    ))
}

function host(n, s) {
  const tags = [
    n.leader && tag('leader', 'good'), n.voter && tag('votes'), n.role === 'witness' && tag('witness'), n.maintenance && tag('maintenance', 'warn'),
    !n.alive && n.power === 'awake' && tag('not in touch', 'bad'), n.power === 'awake' && n.alive && !n.fit && n.role !== 'witness' && tag('not fit to hold', 'warn'),
    n.wake_fitness && (n.wake_fitness.cannot_be_woken ? tag('cannot be woken', 'bad', n.wake_fitness.why) : n.wake_fitness.may_sleep ? '' : tag('may not sleep yet', 'warn', n.wake_fitness.why)),
  ].filter(Boolean)
  const times = n.wakes.phases.find(p => p.phase === 'served') || n.wakes.phases.find(p => p.phase === 'awake')
  const holds = s.services.filter(v => v.owner === n.name).map(v => v.name)
  return el('tr', {},
    el('td', {}, el('span', { class: 'name' }, dot(n.name), n.name), n.name === s.node ? el('span', { class: 'small' }, 'this host') : ''),
    el('td', {}, el('span', { class: 'power', 'data-power': n.power }, power(n.power)), el('span', { class: 'small' }, since(n.since), n.power_reason ? `, ${reason(n.power_reason)}` : '')),
    el('td', holds.length ? { 'data-label': 'Holds' } : {}, holds.join(', ')),
    el('td', {}, ...(tags.length ? [el('span', { class: 'tags' }, ...tags)] : [])),
    el('td', { 'data-label': 'Seen' }, n.alive ? 'now' : since(n.last_seen)),
    el('td', times ? { 'data-label': 'Wakes' } : {}, ...(times ? [`${span(times.p50_seconds)}`, el('span', { class: 'small' }, ` 95 % ${span(times.p95_seconds)}${n.wakes.failures ? `, ${n.wakes.failures} failed` : ''}`)] : [])),
    el('td', {}, el('span', { class: 'small', title: n.version }, n.version.length > 18 ? n.version.slice(0, 17) + '…' : n.version)))
}

function hosts(s) {
  const head = ['Host', 'Power', 'Holds', 'Role', 'Seen', 'Wakes within', 'Version']
  return el('table', {}, el('thead', {}, el('tr', {}, ...head.map(h => el('th', { scope: 'col' }, h)))), el('tbody', {}, ...s.nodes.map(n => host(n, s))))
}

function show(s) {
  const before = last
  last = s
  if (known(s.time)) offset = Date.parse(s.time) - Date.now()
  byId('cluster').textContent = s.cluster.name
  document.title = `${dated() ? 'cut off: ' : ''}${s.problems.length ? `(${s.problems.length}) ` : ''}${s.cluster.name} – nightporter`
  byId('answers').textContent = `${s.node} answers${s.leader ? `, ${s.leader} leads` : ', nobody leads'}; ${s.quorum.awake.length} of ${s.quorum.voters.length} voters awake, ${s.quorum.needed} needed`
  byId('main').hidden = byId('footer').hidden = false
  byId('door').hidden = true
  const names = s.nodes.map(n => n.name)
  draw('problems', troubles(s), () => byId('problems-body').replaceChildren(...problems(troubles(s))))
  // The rest of a lease and the age of a word change with each breath.
  const steady = s.services.map(v => ({ ...v, lease: { ...v.lease, left_seconds: 0, refused: [] }, health: v.health.map(h => ({ ...h, age_seconds: 0 })), holder: v.holder && { ...v.holder, lease_age_seconds: 0 } }))
  draw('services', [steady, names, s.node], () => byId('services').replaceChildren(...(s.services.length ? s.services.map(v => service(v, s)) : [el('p', { class: 'quiet' }, 'None is defined: nightporter apply -f FILE')])))
  draw('hosts', [s.nodes.map(n => ({ ...n, last_seen: n.alive ? '' : n.last_seen })), s.services.map(v => v.owner), s.node], () => byId('hosts').replaceChildren(hosts(s)))
  for (const v of s.services) {
    const e = byId(`lease-${v.name}`)
    if (e) e.textContent = `held, ${span(v.lease.left_seconds)} left when last heard`
  }
  if (before) tell(before, s)
  if (behind()) fetchDay()
}

/** Says what has changed to those who do not see it. */
function tell(before, s) {
  const say = []
  for (const v of s.services) {
    const old = before.services.find(o => o.name === v.name)
    if (old && (old.owner !== v.owner)) say.push(`${v.name} is held by ${v.owner || 'nobody'} now: ${reason(v.reason)}.`)
  }
  for (const n of s.nodes) {
    const old = before.nodes.find(o => o.name === n.name)
    if (old && old.power !== n.power) say.push(`${n.name} is ${power(n.power)}.`)
  }
  if (say.length) byId('news').textContent = say.join(' ')
}

/** Whether the last day lacks what the status has seen of the log, or has grown old. */
const behind = () => !day || day.index < last.known.index || Date.parse(day.until) < Date.now() + offset - 60e3

let fetching = false
async function fetchDay() {
  if (fetching) return
  fetching = true
  try {
    const answer = await fetch('/v1/day', { cache: 'no-store' })
    if (answer.ok) {
      day = await answer.json()
      showDay()
      if (behind()) setTimeout(fetchDay, 400) // it was told from memory, a moment before the last entry
    }
  } catch { /* the stream says that the agent is away */ } finally { fetching = false }
}

function showDay() {
  if (!day || !last) return
  const age = dated(), known = age === 0 ? Infinity : age === Infinity ? Date.parse(day.from) : Math.floor((Date.parse(last.time) - last.known.age_seconds * 1000) / 10e3) * 10e3
  const width = Math.floor(byId('day').clientWidth)
  if (!width) return // it is drawn when it is seen
  draw('day', [day, width, last.nodes.map(n => n.name), known], () => {
    byId('day').replaceChildren(timeline(day, width, color, known), el('p', { class: 'key' }, ...last.nodes.map(n => el('span', { class: 'k-host' }, dot(n.name), n.name))), el('p', { class: 'key' },
      el('span', { class: 'k-awake' }, 'awake'), el('span', { class: 'k-asleep' }, 'asleep'), el('span', {}, 'on the way'), el('span', { class: 'k-off' }, 'off, or nobody'), el('span', { class: 'k-call' }, 'called'), el('span', { class: 'k-failed' }, 'called in vain'), known === Infinity ? '' : el('span', { class: 'k-unknown' }, 'not known here')))
    byId('day-table').replaceChildren(list(day))
  })
  draw('times', [day.times, width], showTimes)
}

/** The time-line as a table, the newest first. */
function list(d) {
  const rows = []
  for (const s of d.services) for (const h of s.spans) rows.push([h.since, s.service, h.owner ? `held by ${h.owner}` : 'held by nobody', `${reason(h.reason)}, epoch ${h.epoch}`])
  for (const n of d.nodes) for (const p of n.spans) rows.push([p.since, n.node, power(p.power), p.reason ? reason(p.reason) : ''])
  for (const w of d.wakes) rows.push([w.started, w.node, 'called', wake(w).replace(/^[^:]*\d\d:\d\d:\d\d: /, '')])
  rows.sort((a, b) => Date.parse(b[0]) - Date.parse(a[0]))
  return el('table', {}, el('caption', { class: 'unseen' }, 'What happened in the last day, the newest first'),
    el('thead', {}, el('tr', {}, ...['When', 'Of', 'What', 'Why'].map(h => el('th', { scope: 'col' }, h)))),
    el('tbody', {}, ...rows.slice(0, 500).map(r => el('tr', {}, el('td', {}, el('time', { datetime: r[0], 'data-fixed': '' }, at(r[0]))), ...r.slice(1).map(c => el('td', {}, c))))))
}

function showTimes() {
  byId('times-section').hidden = !day.times.length
  const cards = day.times.map(t => el('article', { class: 'card' }))
  byId('times').replaceChildren(...cards)
  day.times.forEach((t, i) => {
    const phase = ['served', 'awake', 'back'].find(p => t.samples.some(s => s.phases.some(x => x.phase === p)))
    const samples = t.samples.map(s => ({ at: s.at, failed: s.failed, value: s.phases.find(x => x.phase === phase)?.after_seconds })).filter(s => s.failed || s.value != null)
    const words = { served: 'from the demand until the service was there', awake: 'from the call until it was awake', back: 'until it was back' }
    const n = last.nodes.find(n => n.name === t.node)
    cards[i].append(el('h3', {}, t.node), el('p', { class: 'small' }, `${count(samples.filter(s => !s.failed).length, 'wake')}${samples.some(s => s.failed) ? ` and ${samples.filter(s => s.failed).length} that failed` : ''}${phase ? ', ' + words[phase] : ''}`))
    if (phase) cards[i].append(dots(samples, t.limit_seconds, Math.max(200, cards[i].clientWidth - 40), color(t.node) % 8))
    if (n && n.wakes.phases.length) {
      cards[i].append(el('details', {}, el('summary', {}, 'Phases'), el('table', {}, el('thead', {}, el('tr', {}, ...['Phase', 'Half within', '95 %', 'Longest'].map(h => el('th', { scope: 'col' }, h)))),
        el('tbody', {}, ...n.wakes.phases.map(p => el('tr', {}, el('td', {}, p.phase), el('td', {}, span(p.p50_seconds)), el('td', {}, span(p.p95_seconds)), el('td', {}, span(p.max_seconds))))))))
    }
  })
}

let covered = 0 // what the time-line was covered for: not at all, of late, or wholly

/** Keeps the ages true, and says when the agent is not heard. */
function breathe() {
  const silent = (Date.now() - heard) / 1000, lost = heard > 0 && silent > 8
  const age = dated()
  const state = !heard ? 'wait' : lost || (stream?.readyState !== EventSource.OPEN && silent > 4) ? 'lost' : age ? 'old' : 'live'
  const word = { wait: 'connecting', lost: 'no answer', old: 'cut off', live: 'live' }[state]
  byId('link').dataset.state = state
  if (byId('link-word').textContent !== word) byId('link-word').textContent = word
  byId('link-age').textContent = state === 'lost' ? `last heard ${span(silent)} ago` : ''
  document.body.classList.toggle('stale', state === 'lost')
  const kind = age === 0 || age === Infinity ? age : 1
  if (kind !== covered || age) showDay()
  covered = kind
  document.body.classList.toggle('dated', age > 0)
  const words = age === Infinity ? 'Since its agent started, this host has heard of no leader. What stands below is what it had written down before; the others may have gone on.'
    : age ? `For ${span(age)} this host has heard of no leader. What stands below of owners and power is as old as that; the others may have gone on without it.` : ''
  byId('dated').hidden = !words
  if (byId('dated').textContent !== words) byId('dated').textContent = words
  for (const t of document.querySelectorAll('time:not([data-fixed])')) t.textContent = ago(t.dateTime)
}

/** Takes in what the agent says. */
function hear(s) {
  heard = Date.now()
  show(s)
  breathe()
}

function listen() {
  stream?.close()
  stream = new EventSource('/v1/stream')
  stream.addEventListener('status', e => hear(JSON.parse(e.data)))
  stream.onerror = () => {
    breathe()
    // A browser gives up after a refusal. That may be the agent's start; or it has streams enough, and is asked now and then instead.
    if (stream.readyState === EventSource.CLOSED) setTimeout(enter, 2000)
  }
}

/** Asks whether this browser may read, and listens if so. */
async function enter() {
  try {
    const answer = await fetch('/v1/status', { cache: 'no-store' })
    if (answer.status === 401) return door()
    if (answer.ok) {
      hear(await answer.json())
      return listen()
    }
  } catch { /* not there; it may come back */ }
  breathe()
  setTimeout(enter, 2000)
}

function door() {
  byId('door').hidden = false
  byId('main').hidden = byId('footer').hidden = true
  byId('link-word').textContent = 'closed'
  byId('token').focus()
}

/** Gives the token for a cookie; it goes nowhere else, and stays in no address. */
async function login(token) {
  const answer = await fetch('/login', { headers: { Authorization: `Bearer ${token}` }, cache: 'no-store' })
  byId('door').classList.toggle('wrong', !answer.ok)
  if (answer.ok) return enter()
  byId('door-why').textContent = answer.status === 401 ? 'This is not the token of this host. It is in the file that http.token_file names in its configuration.' : 'The agent does not answer as it should; try again.'
  door()
}

/** The address's fragment, which may be a token; as it stands where it is no encoding of anything, as "#%" is none. */
function fragment() {
  const raw = location.hash.slice(1)
  try {
    return decodeURIComponent(raw)
  } catch {
    return raw
  }
}

byId('door').addEventListener('submit', e => {
  e.preventDefault()
  const token = byId('token').value.trim()
  byId('token').value = ''
  login(token).catch(() => { byId('door-why').textContent = 'No answer; try again.' })
})
new ResizeObserver(() => { if (day && last) showDay() }).observe(byId('day'))
setInterval(breathe, 1000)
const key = fragment()
if (key) history.replaceState(null, '', location.pathname)
if (key) login(key).catch(() => enter())
else enter()
