//! Pages for a browser: one file each, which opens without a network. Tables are in the markup;
//! charts are drawn by uPlot from numbers that stand in the page.

mod many;
mod markup;
mod run;
mod tables;

use anyhow::{Context as _, bail};
use serde::Serialize;

use self::markup::{Markup, json_in_script};
use super::compare::Comparison;
use super::plots::Plot;
use crate::results::Results;

/// The frame of a page; `{{name}}` is where a part goes.
const FRAME: &str = include_str!("../../../assets/report.html");
const METHODOLOGY: &str = include_str!("../../../assets/methodology.html");
const STYLE: &str = include_str!("../../../assets/report.css");
const SCRIPT: &str = include_str!("../../../assets/report.js");
/// Goes with every copy of the script.
const UPLOT_LICENSE: &str = include_str!("../../../assets/uplot/LICENSE");
const UPLOT_STYLE: &str = include_str!("../../../assets/uplot/uPlot.min.css");
const UPLOT_SCRIPT: &str = include_str!("../../../assets/uplot/uPlot.iife.min.js");

/// The page of a run.
pub fn page(results: &Results) -> anyhow::Result<String> {
    let mut page = Page::default();
    run::write(&mut page, results)?;
    page.finish(&results.title, results)
}

/// The page that puts runs side by side.
pub fn page_of_many(runs: &[Results], comparison: &Comparison) -> anyhow::Result<String> {
    let mut page = Page::default();
    many::write(&mut page, runs, comparison)?;
    page.finish(&comparison.title(), &runs)
}

/// A page under construction.
#[derive(Debug, Default)]
struct Page {
    body: Markup,
    plots: Vec<Plot>,
}

impl Page {
    /// A chart under its title, with a word on how to read it.
    fn figure(&mut self, title: &str, note: &str, plot: Plot) {
        self.body.numbered("<figure data-plot=\"", self.plots.len(), "\"><figcaption>");
        self.body.within("<b>", title, "</b> ").within("<span>", note, "</span></figcaption>");
        self.body.raw("<div class=\"plot\"></div></figure>\n");
        self.plots.push(plot);
    }

    fn finish(self, title: &str, data: &impl Serialize) -> anyhow::Result<String> {
        let data = serde_json::to_string(data).context("cannot embed the results")?;
        let plots = serde_json::to_string(&self.plots).context("cannot embed the charts")?;
        let mut escaped_title = Markup::default();
        escaped_title.text(title);
        let escaped_title = escaped_title.into_string();
        let body = self.body.into_string();
        let (data, plots) = (json_in_script(&data), json_in_script(&plots));

        let mut text = String::new();
        let mut rest = FRAME;
        // What is put in is not looked at again, so no text can name a part.
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else {
                bail!("the frame of pages has a '{{{{' without its end");
            };
            text.push_str(before);
            text.push_str(match name {
                "title" => &escaped_title,
                "style" => STYLE,
                "uplot_style" => UPLOT_STYLE,
                "body" => &body,
                "methodology" => METHODOLOGY,
                "data" => &data,
                "plots" => &plots,
                "uplot_license" => UPLOT_LICENSE,
                "uplot_script" => UPLOT_SCRIPT,
                "script" => SCRIPT,
                other => bail!("the frame of pages names an unknown part '{other}'"),
            });
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }
}
