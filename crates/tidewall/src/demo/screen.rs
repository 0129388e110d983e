//! The demo on a terminal: rates, attacks, top hosts, what happened and the score so far.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, RenderDirection, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};
use tidewall_model::{Attack, Timestamp};

use super::card::Card;
use super::clock::{Clock, Pace};
use super::run::{Face, line};
use super::watch::{News, TopHost};
use super::{Demo, words};

/// Lines of the log that are kept; no screen is higher.
const LOG: usize = 200;
/// Real time between two drawings of the same moment.
const DRAW_EVERY: Duration = Duration::from_millis(80);

/// The full screen. The terminal is as it was when this is dropped, and when the program panics.
pub struct Screen {
    terminal: DefaultTerminal,
    view: View,
    clock: Clock,
    drawn: Option<Duration>,
}

impl Screen {
    /// Takes over the terminal.
    pub fn open() -> io::Result<Self> {
        let view = View::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal, view, clock: Clock::start(), drawn: None }),
            Err(error) => {
                ratatui::restore();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

impl Face for Screen {
    fn show(&mut self, demo: &mut Demo, pace: &Pace) -> io::Result<()> {
        self.view.hear(demo.take_news());
        let now = self.clock.elapsed();
        if self.drawn.is_none_or(|drawn| now >= drawn + DRAW_EVERY) || demo.is_finished() {
            self.drawn = Some(now);
            self.terminal.draw(|frame| self.view.draw(frame, demo, pace))?;
        }
        Ok(())
    }

    fn wait(&mut self, time: Duration) -> io::Result<bool> {
        let end = self.clock.elapsed() + time;
        loop {
            let rest = end.saturating_sub(self.clock.elapsed());
            if !event::poll(rest)? {
                return Ok(false);
            }
            if is_quit(&event::read()?) {
                return Ok(true);
            }
        }
    }
}

/// `q`, Escape and Ctrl-C.
fn is_quit(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release
        && match key.code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
            KeyCode::Char('c' | 'C') => control,
            _ => false,
        }
}

/// What is drawn, apart from the demo itself: the log and the palette.
#[derive(Clone, Debug)]
pub struct View {
    log: VecDeque<(Timestamp, Kind, String)>,
    colour: bool,
}

/// How a line of the log stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Injected,
    Attack,
    Other,
}

impl View {
    /// Nothing was heard yet. Without `colour`, only bold and dim are used.
    pub fn new(colour: bool) -> Self {
        Self { log: VecDeque::new(), colour }
    }

    /// Keeps what is worth a line.
    pub fn hear(&mut self, news: Vec<News>) {
        for news in news {
            let kind = match &news {
                News::Status(_) => continue,
                News::Injected(_) => Kind::Injected,
                News::Event(event) if event.attack.ended.is_none() => Kind::Attack,
                News::Event(_) => Kind::Other,
            };
            if self.log.len() == LOG {
                self.log.pop_front();
            }
            self.log.push_back((news.time(), kind, line(&news)));
        }
    }

    /// Draws the whole screen.
    pub fn draw(&self, frame: &mut Frame<'_>, demo: &Demo, pace: &Pace) {
        let area = frame.area();
        let graph = if area.height >= 40 { 6 } else { 3 };
        let [title, rates, attacks, below, score] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(graph),
            Constraint::Fill(1),
            Constraint::Fill(1),
            Constraint::Length(2),
        ])
        .areas(area);
        // Side by side where there is room, else the log gets what the hosts leave.
        let [hosts, log] = if area.width >= 160 {
            Layout::horizontal([Constraint::Length(92), Constraint::Fill(1)]).areas(below)
        } else {
            Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(below)
        };
        frame.render_widget(Self::title(demo), title);
        self.draw_rates(frame, demo, pace, rates);
        self.draw_attacks(frame, demo, attacks);
        self.draw_hosts(frame, demo, hosts);
        self.draw_log(frame, demo, log);
        self.draw_score(frame, demo, score);
    }

    fn title(demo: &Demo) -> Line<'static> {
        let scenario = demo.scenario();
        let whole = scenario.duration_ns / 1_000_000_000;
        let at = format!("{:.1} of {whole} s", demo.elapsed().as_secs_f64());
        let pps = format!("{} packets/s", words::rate(demo.watch().status().pps));
        Line::from(vec![
            Span::styled(" Tidewall demo ", bold().add_modifier(Modifier::REVERSED)),
            Span::raw(format!(" {}  ", scenario.name)),
            Span::styled(at, bold()),
            Span::raw(format!("  {pps}")),
            Span::styled("  q quits", dim()),
        ])
    }

    fn draw_rates(&self, frame: &mut Frame<'_>, demo: &Demo, pace: &Pace, area: Rect) {
        let (status, history) = (demo.watch().status(), demo.watch().history());
        let peak = history.iter().copied().max().unwrap_or(0);
        let stretched = pace.stretched().as_secs_f64();
        let stretched = if stretched > 0.0 {
            format!(", time stretched by {stretched:.1} s")
        } else {
            String::new()
        };
        let title = format!(
            "generated traffic{stretched}: {}, {} hosts; peak {} packets/s",
            words::bits(status.bps),
            words::grouped(status.hosts as u64),
            words::grouped(peak)
        );
        let block = panel(title);
        // A short story is drawn wide.
        let inner = block.inner(area);
        let windows = (demo.scenario().duration_ns / 1_000_000_000).max(1) as usize;
        let wide = (usize::from(inner.width) / windows).max(1);
        let data: Vec<u64> = history
            .iter()
            .rev()
            .flat_map(|pps| std::iter::repeat_n(*pps, wide))
            .take(usize::from(inner.width))
            .collect();
        let sparkline = Sparkline::default()
            .block(block)
            .data(data.into_iter().rev())
            .direction(RenderDirection::LeftToRight)
            .max(peak.max(1))
            .style(self.tint(Color::Cyan));
        frame.render_widget(sparkline, area);
    }

    fn draw_attacks(&self, frame: &mut Frame<'_>, demo: &Demo, area: Rect) {
        let attacks = demo.watch().attacks();
        let mut lines = Vec::new();
        for attack in attacks.iter().filter(|attack| attack.ended.is_none()) {
            lines.extend(self.running(attack, demo.at()));
        }
        let start = demo.scenario().start;
        for attack in attacks.iter().rev().filter(|attack| attack.ended.is_some()) {
            lines.push(over(attack, start));
        }
        if lines.is_empty() {
            lines.push(Line::styled("none so far", dim()));
        }
        let running = attacks.iter().filter(|attack| attack.ended.is_none()).count();
        let title = format!("attacks: {running} running, {} over", attacks.len() - running);
        frame.render_widget(Paragraph::new(lines).block(panel(title)), area);
    }

    /// A running attack: what and how large, then why.
    fn running(&self, attack: &Attack, now: Timestamp) -> [Line<'static>; 2] {
        let age = now.since(attack.detected).as_secs();
        let (pps, bits) = (words::grouped(attack.peak_pps), words::bits(attack.peak_bps as f64));
        let place = words::preposition(attack.direction);
        let what = format!("{} {place} {}", words::named(attack), attack.target);
        [
            Line::from(vec![
                Span::styled("● ", self.tint(Color::Red)),
                Span::styled(what, self.tint(Color::Red).add_modifier(Modifier::BOLD)),
                Span::raw(format!("  {age} s, peak {pps}/s {bits}")),
            ]),
            Line::styled(format!("  {}", words::reason(&attack.reason)), dim()),
        ]
    }

    fn draw_hosts(&self, frame: &mut Frame<'_>, demo: &Demo, area: Rect) {
        let block = panel("top hosts, averages of 5 s".to_owned());
        let shown = usize::from(block.inner(area).height.saturating_sub(1));
        let attacked = |host: &TopHost| {
            let name = host.address.to_string();
            let mut running = demo.watch().attacks().iter().filter(|a| a.ended.is_none());
            running.any(|attack| attack.target.to_string() == name)
        };
        let rows = demo.watch().top().iter().take(shown).map(|host| {
            let style = if attacked(host) { self.tint(Color::Red) } else { Style::new() };
            host_row(host).style(style)
        });
        let rates = ["in pkt/s", "in Mb/s", "in flows", "out pkt/s", "out Mb/s", "out flows"];
        let head =
            std::iter::once("host".to_owned()).chain(rates.map(|name| format!("{name:>10}")));
        let widths = [Constraint::Min(20)].into_iter().chain([Constraint::Length(10); 6]);
        let table = Table::new(rows, widths)
            .header(Row::new(head).style(dim()))
            .column_spacing(0)
            .block(block);
        frame.render_widget(table, area);
    }

    fn draw_log(&self, frame: &mut Frame<'_>, demo: &Demo, area: Rect) {
        let block = panel("what happened".to_owned());
        let shown = usize::from(block.inner(area).height);
        let start = demo.scenario().start;
        let skipped = self.log.len().saturating_sub(shown);
        let lines = self.log.iter().skip(skipped).map(|(time, kind, text)| {
            let style = match kind {
                Kind::Attack => self.tint(Color::Red),
                Kind::Injected => self.tint(Color::Cyan),
                Kind::Other => Style::new(),
            };
            let seconds = format!("{:6.2} s ", time.since(start).as_secs_f64());
            Line::from(vec![Span::styled(seconds, dim()), Span::styled(text.clone(), style)])
        });
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(block), area);
    }

    fn draw_score(&self, frame: &mut Frame<'_>, demo: &Demo, area: Rect) {
        let card = Card::of(demo);
        let colour = if card.is_clean() { Color::Green } else { Color::Red };
        let times = card.times_in_words().map(|times| format!("; time: {times}"));
        let text = card.counts() + &times.unwrap_or_default();
        let line = Line::styled(text, self.tint(colour));
        let block = panel("score so far".to_owned());
        frame.render_widget(Paragraph::new(line).block(block), area);
    }

    fn tint(&self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }
}

/// An attack that is over, on one line.
fn over(attack: &Attack, start: Timestamp) -> Line<'static> {
    let ended = attack.ended.unwrap_or(attack.detected);
    let (from, to) = (attack.started.since(start).as_secs_f64(), ended.since(start).as_secs_f64());
    let place = words::preposition(attack.direction);
    let (named, target) = (words::named(attack), &attack.target);
    let pps = words::grouped(attack.peak_pps);
    let text = format!("  {named} {place} {target}  {from:.1} to {to:.1} s, peak {pps}/s");
    Line::styled(text, dim())
}

fn host_row(host: &TopHost) -> Row<'static> {
    let mut cells = vec![host.address.to_string()];
    for rates in [host.incoming, host.outgoing] {
        cells.push(format!("{:>10}", words::rate(rates.packets)));
        cells.push(format!("{:>10.1}", rates.bits / 1e6));
        cells.push(format!("{:>10}", words::rate(rates.flows)));
    }
    Row::new(cells)
}

fn panel(title: String) -> Block<'static> {
    Block::new().borders(Borders::TOP).title(title).border_style(dim()).title_style(bold())
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}
