/**
 * GLSL of light and tone: spherical harmonics in the signs of 3DGS, the split-sum shading of near.md section 3.5, and
 * the tone curves with the constants of recon3d.render.shading.tone.
 */

/** The real spherical harmonics of a unit vector to degree 3, in the order and signs of 3DGS. */
export const HARMONICS = `
void harmonicBasis(vec3 d, out float y[16]) {
  float x2 = d.x * d.x, y2 = d.y * d.y, z2 = d.z * d.z;
  y[0] = 0.28209479177387814;
  y[1] = -0.4886025119029199 * d.y;
  y[2] = 0.4886025119029199 * d.z;
  y[3] = -0.4886025119029199 * d.x;
  y[4] = 1.0925484305920792 * d.x * d.y;
  y[5] = -1.0925484305920792 * d.y * d.z;
  y[6] = 0.31539156525252005 * (2.0 * z2 - x2 - y2);
  y[7] = -1.0925484305920792 * d.x * d.z;
  y[8] = 0.5462742152960396 * (x2 - y2);
  y[9] = -0.5900435899266435 * d.y * (3.0 * x2 - y2);
  y[10] = 2.890611442640554 * d.x * d.y * d.z;
  y[11] = -0.4570457994644658 * d.y * (4.0 * z2 - x2 - y2);
  y[12] = 0.3731763325901154 * d.z * (2.0 * z2 - 3.0 * x2 - 3.0 * y2);
  y[13] = -0.4570457994644658 * d.x * (4.0 * z2 - x2 - y2);
  y[14] = 1.445305721320277 * d.z * (x2 - y2);
  y[15] = -0.5900435899266435 * d.x * (x2 - 3.0 * y2);
}`;

/** Split-sum shading; the light is the SH of the environment in the world, and a cube map of its prefiltered levels. */
export const SHADING = `
uniform samplerCube prefiltered;
uniform sampler2D brdfTable;
uniform mat3 environmentFromWorld;
uniform vec3 lightHarmonics[9];
const float PI = 3.141592653589793;

vec3 irradianceOf(vec3 n) {
  float y[16];
  harmonicBasis(n, y);
  vec3 sum = PI * y[0] * lightHarmonics[0];
  for (int i = 1; i < 4; i++) sum += 2.0 * PI / 3.0 * y[i] * lightHarmonics[i];
  for (int i = 4; i < 9; i++) sum += PI / 4.0 * y[i] * lightHarmonics[i];
  return max(sum, 0.0);
}

// Light leaving a surface towards v; irradiance and openness (1 = nothing in the way) come from the caller.
vec3 shade(vec3 n, vec3 v, vec3 albedo, float roughness, float metallic, vec3 irradiance, float openness) {
  float nv = clamp(dot(n, v), 1e-4, 1.0);
  vec3 f0 = mix(vec3(0.04), albedo, metallic);
  vec3 diffuse = albedo * (1.0 - metallic) / PI * irradiance;
  vec3 mirrored = reflect(-v, n);
  vec3 light = textureLod(prefiltered, environmentFromWorld * mirrored, roughness * 5.0).rgb;
  vec2 ab = texture(brdfTable, vec2(nv, roughness) * (31.0 / 32.0) + 0.5 / 32.0).rg;
  float occlusion = clamp(pow(nv + openness, exp2(-16.0 * roughness - 1.0)) - 1.0 + openness, 0.0, 1.0);
  return diffuse + light * (f0 * ab.x + ab.y) * occlusion;
}`;

/** Linear light to the display; curve: 0 sRGB only, 1 Reinhard, 2 ACES, 3 AgX, 4 Khronos neutral. */
export const TONE = `
vec3 srgbFromLinear(vec3 c) {
  return mix(12.92 * c, 1.055 * pow(max(c, 0.0031308), vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c));
}

vec3 aces(vec3 c) {
  const mat3 into = mat3(0.59719, 0.07600, 0.02840, 0.35458, 0.90834, 0.13383, 0.04823, 0.01566, 0.83777);
  const mat3 from = mat3(1.60475, -0.10208, -0.00327, -0.53108, 1.10813, -0.07276, -0.07367, -0.00605, 1.07602);
  c = into * (c / 0.6);
  c = (c * (c + 0.0245786) - 0.000090537) / (c * (0.983729 * c + 0.4329510) + 0.238081);
  return from * c;
}

vec3 agx(vec3 c) {
  const mat3 into = mat3(0.6274, 0.0691, 0.0164, 0.3293, 0.9195, 0.0880, 0.0433, 0.0113, 0.8956);
  const mat3 from = mat3(1.6605, -0.1246, -0.0182, -0.5876, 1.1329, -0.1006, -0.0728, -0.0083, 1.1187);
  const mat3 inset = mat3(0.856627153315983, 0.137318972929847, 0.11189821299995, 0.0951212405381588,
    0.761241990602591, 0.0767994186031903, 0.0482516061458583, 0.101439036467562, 0.811302368396859);
  const mat3 outset = mat3(1.1271005818144368, -0.1413297634984383, -0.14132976349843826, -0.11060664309660323,
    1.157823702216272, -0.11060664309660294, -0.016493938717834573, -0.016493938717834257, 1.2519364065950405);
  c = max(inset * (into * c), 1e-10);
  c = clamp((log2(c) + 12.47393) / (4.026069 + 12.47393), 0.0, 1.0);
  vec3 c2 = c * c, c4 = c2 * c2;
  c = 15.5 * c4 * c2 - 40.14 * c4 * c + 31.96 * c4 - 6.868 * c2 * c + 0.4298 * c2 + 0.1191 * c - 0.00232;
  return from * pow(max(outset * c, 0.0), vec3(2.2));
}

vec3 neutral(vec3 c) {
  float low = min(c.r, min(c.g, c.b));
  c -= low < 0.08 ? low - 6.25 * low * low : 0.04;
  float peak = max(c.r, max(c.g, c.b));
  if (peak < 0.76) return c;
  float bent = 1.0 - 0.24 * 0.24 / (peak + 0.24 - 0.76);
  return mix(c * bent / peak, vec3(bent), 1.0 - 1.0 / (0.15 * (peak - bent) + 1.0));
}

vec3 toneCurve(vec3 c, int curve) {
  c = max(c, 0.0);
  if (curve == 1) c = c / (1.0 + c);
  if (curve == 2) c = aces(c);
  if (curve == 3) c = agx(c);
  if (curve == 4) c = neutral(c);
  return clamp(c, 0.0, 1.0);
}`;
