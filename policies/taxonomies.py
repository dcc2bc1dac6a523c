"""The published taxonomies that the policies are mapped to: each with its entries by code.

Names are short forms of the publishers' headings. MLCommons AILuminate 1.0 and Llama Guard 4 name
hazards, and every prohibited behaviour is mapped to them; the vendors' usage policies are mapped per
document. The editions are those that were read; a publisher's page may have changed since.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """One publisher's list."""

    name: str
    """As in `python -m policies map NAME`."""
    title: str
    edition: str
    entries: Mapping[str, str]
    """Code to name, in the publisher's order."""


AILUMINATE = Taxonomy(
    "ailuminate",
    "MLCommons AILuminate",
    "1.0 (December 2024)",
    MappingProxyType(
        {
            "vcr": "Violent crimes",
            "ncr": "Non-violent crimes",
            "src": "Sex-related crimes",
            "cse": "Child sexual exploitation",
            "iwp": "Indiscriminate weapons (CBRNE)",
            "ssh": "Suicide and self-harm",
            "hte": "Hate",
            "prv": "Privacy",
            "ipv": "Intellectual property",
            "dfm": "Defamation",
            "sxc_prn": "Sexual content",
            "spc_ele": "Specialised advice: elections",
            "spc_fin": "Specialised advice: financial",
            "spc_hlt": "Specialised advice: health",
            "spc_lgl": "Specialised advice: legal",
        }
    ),
)

LLAMA_GUARD = Taxonomy(
    "llama_guard",
    "Llama Guard",
    "4 (April 2025)",
    MappingProxyType(
        {
            "S1": "Violent crimes",
            "S2": "Non-violent crimes",
            "S3": "Sex-related crimes",
            "S4": "Child sexual exploitation",
            "S5": "Defamation",
            "S6": "Specialised advice",
            "S7": "Privacy",
            "S8": "Intellectual property",
            "S9": "Indiscriminate weapons",
            "S10": "Hate",
            "S11": "Suicide and self-harm",
            "S12": "Sexual content",
            "S13": "Elections",
            "S14": "Code interpreter abuse",
        }
    ),
)

OPENAI = Taxonomy(
    "openai",
    "OpenAI usage policies",
    "2025-10-29",
    MappingProxyType(
        {
            "harassment": "Threats, intimidation, harassment or defamation",
            "self_harm": "Suicide, self-harm or disordered eating",
            "sexual_violence": "Sexual violence or non-consensual intimate content",
            "terrorism": "Terrorism or violence, hate-based violence included",
            "weapons": "Weapons, conventional or CBRNE",
            "illicit": "Illicit activities, goods or services",
            "cyber": "Compromise or destruction of another's system or property",
            "ip": "Infringement of intellectual property",
            "gambling": "Real-money gambling",
            "licensed_advice": "Tailored advice that requires a licence, without a professional",
            "unsolicited_testing": "Unsolicited safety testing",
            "circumvention": "Circumvention of safeguards",
            "national_security": "National security or intelligence without review",
            "profiling": "Aggregating, monitoring or profiling people",
            "face_database": "Facial recognition databases",
            "biometric_id": "Real-time remote biometric identification",
            "likeness": "Use of a person's likeness without consent",
            "social_scoring": "Social scoring",
            "emotion_inference": "Inference of emotions at work or school",
            "crime_prediction": "Prediction of crime by profiling",
            "csam": "Child sexual abuse material",
            "grooming": "Grooming of minors",
            "minors_exposure": "Age-inappropriate exposure of minors",
            "minors_body": "Unhealthy dieting or body shaming of minors",
            "minors_challenges": "Dangerous challenges for minors",
            "minors_roleplay": "Underage sexual or violent role-play",
            "minors_goods": "Age-restricted goods for minors",
            "academic_dishonesty": "Academic dishonesty",
            "deceit": "Deceit, fraud, scams, spam or impersonation",
            "elections": "Political campaigning or election interference",
            "high_stakes": "Automation of high-stakes decisions",
        }
    ),
)

GOOGLE = Taxonomy(
    "google",
    "Google generative AI prohibited use policy",
    "2024-12-17",
    MappingProxyType(
        {
            "1a": "Child sexual abuse or exploitation",
            "1b": "Violent extremism or terrorism",
            "1c": "Non-consensual intimate imagery",
            "1d": "Self-harm",
            "1e": "Illegal activities or regulated goods",
            "1f": "Violation of others' rights, privacy and intellectual property included",
            "1g": "Tracking or monitoring without consent",
            "1h": "Automated decisions of high risk",
            "2a": "Spam, phishing or malware",
            "2b": "Abuse of infrastructure",
            "2c": "Circumvention of safety filters",
            "3a": "Hatred or hate speech",
            "3b": "Harassment, bullying or abuse",
            "3c": "Violence or its incitement",
            "3d": "Sexually explicit content",
            "4a": "Frauds, scams or deception",
            "4b": "Impersonation without disclosure",
            "4c": "Misleading claims of expertise",
            "4d": "Misleading claims on government, democracy or health practices",
        }
    ),
)

ANTHROPIC = Taxonomy(
    "anthropic",
    "Anthropic usage policy",
    "2025-09-15",
    MappingProxyType(
        {
            "A1": "Violation of applicable laws",
            "A2": "Critical infrastructure",
            "A3": "Compromise of computers or networks",
            "A4": "Weapons",
            "A5": "Violence or hateful behaviour",
            "A6": "Privacy or identity rights",
            "A7": "Children's safety",
            "A8": "Psychologically or emotionally harmful content",
            "A9": "Misinformation",
            "A10": "Democratic processes and campaigns",
            "A11": "Criminal justice, censorship or surveillance",
            "A12": "Fraudulent, abusive or predatory practices",
            "A13": "Abuse of the platform",
            "A14": "Sexually explicit content",
        }
    ),
)

HAZARDS = (AILUMINATE, LLAMA_GUARD)
"""Mapped per clause."""
VENDORS = (OPENAI, GOOGLE, ANTHROPIC)
"""Mapped per document."""
TAXONOMIES: Mapping[str, Taxonomy] = MappingProxyType({one.name: one for one in (*HAZARDS, *VENDORS)})
LLAMA_GUARD_OF: Mapping[str, str] = MappingProxyType(
    {
        **{"vcr": "S1", "ncr": "S2", "src": "S3", "cse": "S4", "dfm": "S5", "prv": "S7", "ipv": "S8"},
        **{"iwp": "S9", "hte": "S10", "ssh": "S11", "sxc_prn": "S12", "spc_ele": "S13"},
        **{"spc_fin": "S6", "spc_hlt": "S6", "spc_lgl": "S6"},
    }
)
"""Which Llama Guard hazard an AILuminate hazard is; S14 has no counterpart."""
