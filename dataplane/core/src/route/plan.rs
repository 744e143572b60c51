//! Makes a rule into the plan that a core executes, and decides by it.

use std::rc::Rc;

use http::StatusCode;
use ringway_config::{Backend, BackendTarget, Filter, Weighted};

use super::{ClusterSource, GRPC_UNAVAILABLE, is_grpc};
use crate::arrival::Arrival;
use crate::compiled::AttachedRoute;
use crate::cors;
use crate::decision::{Answer, Decision, Forward, Plan, PlanBackend, PlanEnd, PlanTarget};
use crate::failure::Flag;
use crate::message::RequestHead;
use crate::redirect;
use crate::step::{self, RequestStep, ResponseStep};
use crate::summary::Labels;

/// What a plan does with one request: a preflight is answered before all else, then a filter may end the request,
/// then the drawn backend has it.
pub(super) fn decide<C>(plan: &Rc<Plan<C>>, arrival: &Arrival, head: &RequestHead, draw: u64) -> Decision<C> {
    decide_drawn(plan, arrival, head, plan.draw(draw))
}

/// The same for the backend that was drawn.
pub(crate) fn decide_drawn<C>(
    plan: &Rc<Plan<C>>,
    arrival: &Arrival,
    head: &RequestHead,
    drawn: Option<usize>,
) -> Decision<C> {
    if cors::is_preflight(head)
        && let Some(cors) = step::response_steps(plan, drawn).find_map(ResponseStep::as_cors)
    {
        return Decision::Answer(of_plan(plan, cors::preflight(cors, head)));
    }
    let backend = drawn.map(|index| &plan.backends[index]);
    let end = plan.end.as_ref().or_else(|| backend?.end.as_ref());
    let answer = match (end, backend.map(|backend| &backend.target), drawn) {
        (Some(PlanEnd::Unresolved), ..) => refuse("filter cannot be resolved", head),
        (Some(PlanEnd::Redirect(to)), ..) => {
            let mut answer = Answer::reply(to.status.code(), "redirect");
            answer.fields.append(b"location", redirect::location(to, arrival, head).as_bytes());
            answer
        }
        (None, Some(PlanTarget::Cluster(..)), Some(backend)) => {
            return Decision::Forward(Forward { plan: Rc::clone(plan), backend });
        }
        (None, Some(PlanTarget::Invalid), _) => refuse("backend reference is invalid", head),
        (None, ..) => refuse("rule has no backend", head),
    };
    let mut answer = of_plan(plan, answer);
    step::apply_response(plan, drawn, &step::facts(plan, drawn, head), &mut answer.fields);
    Decision::Answer(answer)
}

fn refuse(details: &'static str, head: &RequestHead) -> Answer {
    let answer = Answer::refuse(StatusCode::INTERNAL_SERVER_ERROR, Flag::NoCluster, details);
    if is_grpc(head) { answer.for_grpc(GRPC_UNAVAILABLE) } else { answer }
}

fn of_plan<C>(plan: &Plan<C>, answer: Answer) -> Answer {
    Answer { labels: Some(Rc::clone(&plan.labels)), ..answer }
}

/// Makes the plan of a rule.
pub(super) fn build<C>(attached: &AttachedRoute, rule: usize, source: &dyn ClusterSource<C>) -> Plan<C> {
    let route = attached.http().expect("plans are made of HTTP routes, which alone have rules");
    let index = rule;
    let rule = &route.rules[index];
    let steps = Steps::of(&rule.filters, source);
    let labels = Labels {
        listener: Some(attached.listener.key.clone()),
        route: Some(route.key.clone()),
        cluster: None,
    };
    let backends = rule
        .backends
        .iter()
        .flat_map(Weighted::iter)
        .map(|(backend, _)| plan_backend(backend, &labels, source));
    let mut place = 0..;
    let choice = rule.backends.as_ref().map(|backends| backends.map(|_| place.next().unwrap_or_default()));
    Plan {
        listener: attached.listener.key.clone(),
        route: route.key.clone(),
        rule: index,
        rule_name: rule.name.clone(),
        kind: route.kind,
        request_steps: steps.request,
        response_steps: steps.response,
        end: steps.end,
        backends: backends.collect(),
        labels: Rc::new(labels),
        choice,
        timeouts: rule.timeouts,
        retry: rule.retry.clone(),
        request_body_bytes_max: rule.request_body_bytes_max.or(attached.listener.request_body_bytes_max),
    }
}

fn plan_backend<C>(backend: &Backend, labels: &Labels, source: &dyn ClusterSource<C>) -> PlanBackend<C> {
    let Steps { request, response, end } = Steps::of(&backend.filters, source);
    let target = target(&backend.target, source);
    let cluster = match &target {
        PlanTarget::Cluster(key, _) => Some(key.clone()),
        PlanTarget::Invalid => None,
    };
    PlanBackend {
        target,
        labels: Rc::new(Labels { cluster, ..labels.clone() }),
        request_steps: request,
        response_steps: response,
        end,
    }
}

/// A backend whose cluster is not there is as good as an invalid one.
pub(super) fn target<C>(target: &BackendTarget, source: &dyn ClusterSource<C>) -> PlanTarget<C> {
    match target {
        BackendTarget::Invalid => PlanTarget::Invalid,
        BackendTarget::Cluster(key) => match source.cluster(key) {
            Some(cluster) => PlanTarget::Cluster(key.clone(), cluster),
            None => PlanTarget::Invalid,
        },
    }
}

/// A list of filters as steps.
struct Steps<C> {
    request: Vec<RequestStep<C>>,
    response: Vec<ResponseStep>,
    end: Option<PlanEnd>,
}

impl<C> Steps<C> {
    fn of(filters: &[Filter], source: &dyn ClusterSource<C>) -> Self {
        let mut steps = Self { request: Vec::new(), response: Vec::new(), end: None };
        for filter in filters {
            steps.push(filter, source);
        }
        // What came first on the way up comes last on the way down.
        steps.response.reverse();
        steps
    }

    fn push(&mut self, filter: &Filter, source: &dyn ClusterSource<C>) {
        match filter {
            Filter::RequestHeaders(edits) => self.request.push(RequestStep::Edit(edits.clone())),
            Filter::ResponseHeaders(edits) => self.response.push(ResponseStep::Edit(edits.clone())),
            Filter::Redirect(redirect) if self.end.is_none() => {
                self.end = Some(PlanEnd::Redirect(redirect.clone()));
            }
            Filter::Redirect(_) => {}
            Filter::Rewrite(rewrite) => {
                self.request.extend(rewrite.hostname.iter().cloned().map(RequestStep::Host));
                self.request.extend(rewrite.path.iter().cloned().map(RequestStep::Path));
            }
            Filter::Mirror(mirror) => {
                // A mirror that is not there leaves the request alone (checklist F7).
                let cluster = source.cluster(&mirror.cluster);
                self.request.extend(cluster.map(|cluster| RequestStep::Mirror {
                    key: mirror.cluster.clone(),
                    cluster,
                    fraction: mirror.fraction,
                }));
            }
            Filter::Cors(cors) => self.response.push(ResponseStep::Cors(cors.clone())),
            Filter::Unresolved => self.end = Some(PlanEnd::Unresolved),
        }
    }
}
